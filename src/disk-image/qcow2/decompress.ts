import { promisify } from 'node:util'
import { constants, inflateRaw, zstdDecompress } from 'node:zlib'
import { malformed } from './header.ts'
import { zstdFrameBytes } from './zstd-frame.ts'

const inflate = promisify(inflateRaw)
const unzstd = promisify(zstdDecompress)

/** QEMU writes windows of 2^21 bytes at most; a larger claim would only make us reserve memory. */
const maxZstdWindowLog = 23

/**
 * Unpacks one cluster on the thread pool. What fills the last sector behind the packed bytes is ignored.
 * @throws Invalid when the data is damaged, or is not exactly one cluster
 */
export async function decompressCluster(
  compression: 'deflate' | 'zstd',
  packed: Buffer,
  clusterBytes: number,
): Promise<Uint8Array> {
  let bytes: Uint8Array
  const limits = { maxOutputLength: clusterBytes, chunkSize: Math.max(clusterBytes, 64) }
  try {
    bytes =
      compression === 'deflate'
        ? await inflate(packed, { ...limits, finishFlush: constants.Z_SYNC_FLUSH })
        : await unzstd(packed.subarray(0, zstdFrameBytes(packed) ?? 0), {
            ...limits,
            params: { [constants.ZSTD_d_windowLogMax]: maxZstdWindowLog },
          })
  } catch (error) {
    throw malformed(`a compressed cluster cannot be unpacked (${String(error)})`)
  }
  if (bytes.byteLength !== clusterBytes) throw malformed('a compressed cluster is too short')
  return bytes
}
