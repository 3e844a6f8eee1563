import { createHash } from 'node:crypto'
import { type Bytes, MiB } from '../../../kernel/bytes.ts'
import { type Compression, checksummed, compressed } from './codec.ts'
import { hashThreads, sha256ByBlock, wholeMd5 } from './hash-threads.ts'

/** What is known of an object that holds nothing but zeroes. */
export interface ZeroObject {
  readonly md5: string
  readonly blockDigests: Uint8Array
  /** As it is stored. */
  readonly payload: Uint8Array
  readonly storedCrc32: string
}

const remembered = 4

/** Objects of zeroes, which sparse volumes are full of: each length is hashed and compressed only once. */
class ZeroObjects {
  readonly #known = new Map<string, Promise<ZeroObject>>()

  of(length: number, blockBytes: number, compression: Exclude<Compression, 'none'>): Promise<ZeroObject> {
    const key = `${length} ${blockBytes} ${compression}`
    let found = this.#known.get(key)
    if (found === undefined) {
      found = this.#make(length, blockBytes, compression)
      found.catch(() => this.#known.delete(key))
      const [oldest] = this.#known.keys()
      if (this.#known.size >= remembered && oldest !== undefined) this.#known.delete(oldest)
      this.#known.set(key, found)
    }
    return found
  }

  /** An object that has been met before, by this process. */
  async known(length: number, blockBytes: number, compression: Compression): Promise<ZeroObject | undefined> {
    return await this.#known.get(`${length} ${blockBytes} ${compression}`)
  }

  async #make(length: number, blockBytes: number, compression: Compression): Promise<ZeroObject> {
    let md5 = ''
    let blockDigests: Uint8Array = new Uint8Array(0)
    const byBlock = sha256ByBlock(blockBytes, (digests) => {
      blockDigests = digests
    })
    const ofAll = wholeMd5((hex) => {
      md5 = hex
    })
    const whole = hashThreads.hashed(zeroes(length), byBlock, ofAll)
    const parts: Uint8Array[] = []
    let storedCrc32 = ''
    const stored = checksummed(compressed(whole, compression, length), (hex) => {
      storedCrc32 = hex
    })
    for await (const part of stored) parts.push(Uint8Array.from(part))
    return { md5, blockDigests, payload: Buffer.concat(parts), storedCrc32 }
  }
}

async function* zeroes(length: number): Bytes {
  for (let at = 0; at < length; at += MiB) yield new Uint8Array(Math.min(MiB, length - at))
}

/** Of this process, whatever the target. */
export const zeroObjects = new ZeroObjects()

/** SHA-256 of every block of `length` zeroes. */
export function zeroDigests(length: number, blockBytes: number): Uint8Array {
  const digest = (bytes: number) => createHash('sha256').update(new Uint8Array(bytes)).digest()
  const whole = Math.floor(length / blockBytes)
  const digests: Uint8Array[] = whole === 0 ? [] : Array(whole).fill(digest(blockBytes))
  if (length % blockBytes !== 0) digests.push(digest(length % blockBytes))
  return Buffer.concat(digests)
}
