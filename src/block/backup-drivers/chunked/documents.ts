import { createHash } from 'node:crypto'
import { type Bytes, limitBytes, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import type { NewBackup, StoredBackup } from '../../backup-driver.ts'
import { type BlobContainer, DamagedBlob } from './blob-store.ts'
import { type BlockDigests, parseSha256File } from './block-digests.ts'

/** The one version of the layout that exists. */
const layoutVersion = '1.0.0'
/** A metadata object that is longer than this is none. */
const longestMetadataBytes = 256 * MiB

/** An object of a backup. Length and MD5 are those of the volume's bytes, not of what is stored. */
export interface ObjectEntry {
  readonly name: string
  readonly offset: number
  readonly length: number
  readonly compression: string
  readonly md5: string
  /**
   * CRC-32 of the compressed bytes, 8 hexadecimal digits: a flipped bit in them need not change what they
   * decompress to. Only our own backups have it.
   */
  readonly storedCrc32: string | undefined
}

/** What the metadata object says. */
export interface BackupMetadata {
  readonly objects: readonly ObjectEntry[]
  readonly volumeMetadata: string | undefined
  /** SHA-256 of the sha256file; only our own backups have it. */
  readonly sha256FileSha256: string | undefined
}

export const metadataName = (prefix: string) => `${prefix}_metadata`
export const sha256Name = (prefix: string) => `${prefix}_sha256file`
/** @param number from 1 */
export const objectName = (prefix: string, number: number) => `${prefix}-${String(number).padStart(5, '0')}`

/** The facts that both documents begin with, named as Cinder's chunked drivers name them. */
function facts(backup: StoredBackup) {
  return {
    backup_description: backup.description ?? null,
    backup_id: backup.id,
    backup_name: backup.name ?? null,
    created_at: backup.createdAt.replace('T', ' ').replace(/\.\d+Z$|Z$/, '+00:00'),
    version: layoutVersion,
    volume_id: backup.volumeId,
  }
}

/** Writes the digests of all blocks. @returns the document's SHA-256 */
export async function writeSha256File(
  container: BlobContainer,
  backup: StoredBackup,
  digests: BlockDigests,
  call: Call,
): Promise<string> {
  const head = JSON.stringify({ ...facts(backup), chunk_size: digests.blockBytes }, null, 2)
  function* text(): Generator<string> {
    yield `${head.slice(0, -2)},\n  "sha256s": [`
    yield* digests.jsonItems()
    yield ']\n}'
  }
  return await putText(container, sha256Name(backup.prefix), text(), call)
}

/** Writes what makes a backup whole. @returns the document's SHA-256 */
export async function writeMetadata(
  container: BlobContainer,
  backup: NewBackup,
  metadata: BackupMetadata,
  call: Call,
): Promise<string> {
  const objects = metadata.objects.map(({ name, offset, length, compression, md5, storedCrc32 }) => ({
    [name]: { compression, length, md5, offset, stored_crc32: storedCrc32 },
  }))
  const document = {
    ...facts(backup),
    objects,
    parent_id: backup.parent?.id ?? null,
    sha256file_sha256: metadata.sha256FileSha256,
    volume_meta: metadata.volumeMetadata ?? null,
  }
  return await putText(container, metadataName(backup.prefix), [JSON.stringify(document, null, 2)], call)
}

async function putText(
  container: BlobContainer,
  name: string,
  text: Iterable<string>,
  call: Call,
): Promise<string> {
  const hash = createHash('sha256')
  async function* bytes(): Bytes {
    for (const part of text) {
      const encoded = Buffer.from(part)
      hash.update(encoded)
      yield encoded
    }
  }
  await container.put(name, bytes(), call)
  return hash.digest('hex')
}

/** @throws NotFound, DamagedBlob; DamagedBlob too for a version that is not known */
export async function readMetadata(
  container: BlobContainer,
  backup: StoredBackup,
  call: Call,
): Promise<BackupMetadata> {
  const parts: Uint8Array[] = []
  const tooLong = () => new DamagedBlob('it is too long')
  for await (const part of limitBytes(
    container.get(metadataName(backup.prefix), call),
    longestMetadataBytes,
    tooLong,
  )) {
    parts.push(Uint8Array.from(part))
  }
  const bytes = Buffer.concat(parts)
  if (backup.metadataSha256 !== undefined) {
    checkDigest(createHash('sha256').update(bytes).digest('hex'), backup.metadataSha256)
  }
  let document: unknown
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new DamagedBlob('it is not JSON', { cause })
  }
  return parseMetadata(document)
}

function parseMetadata(document: unknown): BackupMetadata {
  const at = (key: string): unknown => Reflect.get(Object(document), key)
  if (at('version') !== layoutVersion) {
    throw new DamagedBlob(`No support to restore backup version ${String(at('version'))}`)
  }
  const list = at('objects')
  if (!Array.isArray(list)) throw new DamagedBlob('it lists no objects')
  const objects = list.map((item: unknown): ObjectEntry => {
    const [name, value] = Object.entries(Object(item))[0] ?? []
    const field = (key: string): unknown => Reflect.get(Object(value), key)
    const [offset, length, compression, md5] = ['offset', 'length', 'compression', 'md5'].map(field)
    if (name === undefined || !isCount(offset) || !isCount(length)) {
      throw new DamagedBlob('it describes an object without a place')
    }
    const crc = field('stored_crc32')
    return {
      ...{ name, offset, length, compression: String(compression ?? 'none'), md5: String(md5) },
      storedCrc32: typeof crc === 'string' ? crc : undefined,
    }
  })
  const volumeMetadata = at('volume_meta')
  const sha256 = at('sha256file_sha256')
  return {
    objects,
    volumeMetadata: typeof volumeMetadata === 'string' ? volumeMetadata : undefined,
    sha256FileSha256: typeof sha256 === 'string' ? sha256 : undefined,
  }
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** @param sha256 of the whole document, where it is known @throws NotFound, DamagedBlob */
export async function readSha256File(
  container: BlobContainer,
  backup: StoredBackup,
  sha256: string | undefined,
  call: Call,
): Promise<BlockDigests> {
  const hash = createHash('sha256')
  async function* watched(): Bytes {
    for await (const part of container.get(sha256Name(backup.prefix), call)) {
      hash.update(part)
      yield part
    }
  }
  const digests = await parseSha256File(watched())
  if (sha256 !== undefined) checkDigest(hash.digest('hex'), sha256)
  return digests
}

function checkDigest(found: string, expected: string): void {
  if (found !== expected) throw new DamagedBlob(`its SHA-256 is ${found}, not ${expected}`)
}
