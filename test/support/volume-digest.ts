import { createHash } from 'node:crypto'
import { readBytes } from '@emberglass/iscsi'
import type { Api } from './api.ts'
import { withAttachedDisk } from './attached-disk.ts'

const chunkBytes = 4 * 1024 * 1024

/**
 * SHA-512 of a volume's first bytes, read as a host reads them: attached, and over iSCSI.
 * @param length in bytes, a multiple of 4 MiB
 */
export async function volumeDigest(api: Api, id: string, length: number): Promise<string> {
  return await withAttachedDisk(api, id, async (disk, cancel) => {
    const hash = createHash('sha512')
    for (let offset = 0; offset < length; offset += chunkBytes) {
      hash.update(await readBytes(disk, offset, chunkBytes, cancel))
    }
    return hash.digest('hex')
  })
}
