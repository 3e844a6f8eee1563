import { Invalid } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import type { ImageFacts } from '../image-service.ts'
import { type EncryptionRow, findEncryption, refuseEncrypted } from '../types/encryption.ts'
import type { TypeRow } from '../types/queries.ts'
import type { VolumeRow } from './queries.ts'

/** The one key of castellan's ConfKeyManager: `[key_manager] fixed_key` has it, and whoever attaches reads it there. */
export const fixedKeyId = '00000000-0000-0000-0000-000000000000'
/** The property of an image whose bytes are those of an encrypted volume. */
const keyProperty = 'cinder_encryption_key_id'

/** What a new volume's bytes come from: encrypted with a key or not. */
export type SourceBytes =
  | { readonly kind: 'none' }
  | { readonly kind: 'image'; readonly image: ImageFacts }
  | { readonly kind: 'copy'; readonly what: string; readonly keyId: string | null }

/**
 * The key of a volume that is to be made. Its bytes are encrypted and decrypted by whoever attaches it, as upstream's
 * front end does, and copied as they are; so an encrypted volume begins empty or as a copy of another one.
 * @returns null for a type that is not encrypted
 * @throws Invalid when there is no key manager, or what it is made of is encrypted where the type is not, or the
 *   other way round
 */
export async function keyOfNewVolume(
  block: Block,
  db: BlockDb,
  type: TypeRow,
  source: SourceBytes,
): Promise<string | null> {
  const encryption = await findEncryption(db, type.id)
  const sourceKey = keyOfSource(source)
  if (encryption === undefined) {
    if (!sourceKey) return null
    throw new Invalid(
      `Invalid volume_type provided: ${type.name} is not encrypted, and the ${nameOf(source)} is.`,
    )
  }
  if (!block.settings.hasFixedKey) await refuseEncrypted(db, type)
  if (sourceKey === null) {
    throw new Invalid(
      `Invalid volume_type provided: ${type.name} is encrypted, and the ${nameOf(source)} is not: nothing here encrypts what is there already.`,
    )
  }
  return fixedKeyId
}

/** The source's key; null when its bytes are not encrypted, undefined when there are none. */
function keyOfSource(source: SourceBytes): string | null | undefined {
  if (source.kind === 'none') return undefined
  return source.kind === 'copy' ? source.keyId : (source.image.properties[keyProperty] ?? null)
}

function nameOf(source: SourceBytes): string {
  return source.kind === 'copy' ? source.what : source.kind
}

/** Properties of the image that an encrypted volume becomes: without them nobody could read it. */
export function keyProperties(volume: VolumeRow): Readonly<Record<string, string>> {
  if (volume.encryption_key_id === null) return {}
  return {
    [keyProperty]: volume.encryption_key_id,
    cinder_encryption_key_deletion_policy: 'on_image_deletion',
  }
}

/**
 * A new type must leave the bytes of a volume as they are.
 * @throws Invalid when it is encrypted in another way, or one of the two is not
 */
export async function refuseEncryptionChange(db: BlockDb, volume: VolumeRow, type: TypeRow): Promise<void> {
  if (volume.encryption_key_id === null) return await refuseEncrypted(db, type)
  const before = volume.volume_type_id === null ? undefined : await findEncryption(db, volume.volume_type_id)
  const after = await findEncryption(db, type.id)
  if (before !== undefined && after !== undefined && isSame(before, after)) return
  throw new Invalid(
    `Invalid input received: Volume ${volume.id} is encrypted, and type ${type.name} is not, or in another way.`,
  )
}

function isSame(one: EncryptionRow, other: EncryptionRow): boolean {
  return (
    one.provider === other.provider &&
    one.cipher === other.cipher &&
    one.key_size === other.key_size &&
    one.control_location === other.control_location
  )
}
