import { RadosObjects } from '../../../ceph/objects.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import { type Bytes, limitBytes, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { NotFound } from '../../../kernel/errors.ts'
import type { NewBackup, StoredBackup } from '../../backup-driver.ts'
import { type BlobContainer, DamagedBlob } from '../chunked/blob-store.ts'
import type { BlockDigests } from '../chunked/block-digests.ts'
import { readSha256File, sha256Name, writeSha256File } from '../chunked/documents.ts'
import { sha256 } from './blocks.ts'
import { digestsPrefix, factsName } from './naming.ts'

/** Under this key the volume's facts hold the SHA-256 of the digests; Cinder's driver passes over it. */
const digestsKey = 'emberglass-sha256file-sha256'
const longestFactsBytes = 16 * MiB

/** The name of the object with the digests of a backup. */
export const digestsName = (backupId: string) => sha256Name(digestsPrefix(backupId))

const named = (backup: StoredBackup): StoredBackup => ({ ...backup, prefix: digestsPrefix(backup.id) })

/** Objects of a pool as a chunked backup has its documents. */
function containerOf(pool: RbdPool, backupId: string): BlobContainer {
  const objects = new RadosObjects(pool)
  return {
    put: (name, data, call) => objects.write(name, data, call),
    get: (name, call) => objects.read(name, call),
    list: async () => [digestsName(backupId), factsName(backupId)],
    [Symbol.asyncDispose]: async () => {},
  }
}

/** Writes the digests and, last, the volume's facts. @returns the SHA-256 of the facts */
export async function writeDocuments(
  pool: RbdPool,
  backup: NewBackup,
  digests: BlockDigests,
  call: Call,
): Promise<string> {
  const digestsSha256 = await writeSha256File(containerOf(pool, backup.id), named(backup), digests, call)
  const facts: object = JSON.parse(backup.volumeMetadata)
  const bytes = Buffer.from(JSON.stringify({ ...facts, [digestsKey]: digestsSha256 }))
  await new RadosObjects(pool).write(factsName(backup.id), once(bytes), call)
  return sha256(bytes)
}

/** The volume's facts as they were given, and the SHA-256 of the digests where they name one. */
export interface Facts {
  readonly volumeMetadata: string
  readonly digestsSha256: string | undefined
}

/** @throws NotFound, DamagedBlob */
export async function readFacts(pool: RbdPool, backup: StoredBackup, call: Call): Promise<Facts> {
  const parts: Uint8Array[] = []
  const source = new RadosObjects(pool).read(factsName(backup.id), call)
  for await (const part of limitBytes(source, longestFactsBytes, () => new DamagedBlob('it is too long'))) {
    parts.push(part)
  }
  const bytes = Buffer.concat(parts)
  const found = sha256(bytes)
  if (backup.metadataSha256 !== undefined && found !== backup.metadataSha256) {
    throw new DamagedBlob(`its SHA-256 is ${found}, not ${backup.metadataSha256}`)
  }
  try {
    const document: Record<string, unknown> = Object(JSON.parse(bytes.toString()))
    const { [digestsKey]: digestsSha256, ...facts } = document
    return {
      volumeMetadata: JSON.stringify(facts),
      digestsSha256: typeof digestsSha256 === 'string' ? digestsSha256 : undefined,
    }
  } catch (cause) {
    throw new DamagedBlob('it is not JSON', { cause })
  }
}

/** @param digestsSha256 as the facts have it @throws NotFound, DamagedBlob */
export async function readDigests(
  pool: RbdPool,
  backup: StoredBackup,
  digestsSha256: string,
  call: Call,
): Promise<BlockDigests> {
  return await readSha256File(containerOf(pool, backup.id), named(backup), digestsSha256, call)
}

/** The facts of a backup that others have made may be missing. */
export async function readFactsIfThere(
  pool: RbdPool,
  backup: StoredBackup,
  call: Call,
): Promise<Facts | undefined> {
  try {
    return await readFacts(pool, backup, call)
  } catch (error) {
    if (!(error instanceof NotFound) || backup.metadataSha256 !== undefined) throw error
    return undefined
  }
}

export async function removeDocuments(pool: RbdPool, backupId: string, call: Call): Promise<void> {
  const objects = new RadosObjects(pool)
  await objects.remove(factsName(backupId), call)
  await objects.remove(digestsName(backupId), call)
}

async function* once(bytes: Uint8Array): Bytes {
  yield bytes
}
