import type { Bytes } from '../../../kernel/bytes.ts'
import { DamagedBlob } from './blob-store.ts'

const digestBytes = 32
/** Characters of one piece of the written document, about. */
const pieceDigests = 4096

/** SHA-256 of every block of a volume: 32 bytes each, in one buffer. */
export class BlockDigests {
  readonly blockBytes: number
  readonly count: number
  readonly #digests: Buffer

  constructor(blockBytes: number, digests: Uint8Array) {
    this.blockBytes = blockBytes
    this.#digests = Buffer.from(digests.buffer, digests.byteOffset, digests.byteLength)
    this.count = digests.byteLength / digestBytes
  }

  /** As many as a volume has blocks, all zero until they are set. */
  static empty(blockBytes: number, volumeBytes: number): BlockDigests {
    return new BlockDigests(blockBytes, Buffer.alloc(Math.ceil(volumeBytes / blockBytes) * digestBytes))
  }

  /** @param digests of consecutive blocks, one behind the other */
  set(firstBlock: number, digests: Uint8Array): void {
    this.#digests.set(digests, firstBlock * digestBytes)
  }

  /** Of `blocks` consecutive blocks; fewer at the end. */
  of(firstBlock: number, blocks: number): Uint8Array {
    return this.#digests.subarray(firstBlock * digestBytes, (firstBlock + blocks) * digestBytes)
  }

  /** The digests as JSON strings with commas between. */
  *jsonItems(): Generator<string> {
    for (let block = 0; block < this.count; block += pieceDigests) {
      const items: string[] = []
      const end = Math.min(block + pieceDigests, this.count)
      for (let one = block; one < end; one++) {
        items.push(`"${this.#digests.toString('hex', one * digestBytes, (one + 1) * digestBytes)}"`)
      }
      yield `${block === 0 ? '' : ', '}${items.join(', ')}`
    }
  }
}

/** Digests that arrive one by one, in a buffer that grows. */
class DigestList {
  #buffer = Buffer.alloc(64 * 1024)
  #used = 0

  push(hex: string): void {
    if (this.#used === this.#buffer.byteLength) {
      this.#buffer = Buffer.concat([this.#buffer, Buffer.alloc(this.#buffer.byteLength)])
    }
    this.#buffer.write(hex, this.#used, 'hex')
    this.#used += digestBytes
  }

  taken(): Uint8Array {
    return this.#buffer.subarray(0, this.#used)
  }
}

/**
 * Reads a `sha256file`, whatever its length: that of a terabyte may be longer than any string.
 * @throws DamagedBlob
 */
export async function parseSha256File(source: Bytes): Promise<BlockDigests> {
  const list = new DigestList()
  const decoder = new TextDecoder()
  let pending = ''
  let rest = ''
  let inside = false
  const take = (last: boolean) => {
    if (!inside) {
      const start = /"sha256s"\s*:\s*\[/.exec(pending)
      if (start === null) return
      rest += `${pending.slice(0, start.index)}"sha256s": []`
      pending = pending.slice(start.index + start[0].length)
      inside = true
    }
    const end = pending.indexOf(']')
    const cut = end >= 0 ? end : last ? pending.length : pending.lastIndexOf(',') + 1
    for (const [, hex] of pending.slice(0, cut).matchAll(/"([^"]*)"/g)) {
      if (hex === undefined || !/^[0-9a-f]{64}$/.test(hex))
        throw new DamagedBlob('it holds no list of digests')
      list.push(hex)
    }
    pending = pending.slice(cut)
  }
  let after = ''
  for await (const chunk of source) {
    if (inside && pending.startsWith(']')) after += decoder.decode(chunk, { stream: true })
    else {
      pending += decoder.decode(chunk, { stream: true })
      take(false)
    }
  }
  take(true)
  let blockBytes: unknown
  try {
    const document: unknown = JSON.parse(`${rest}${(pending + after).slice(1)}`)
    blockBytes = Reflect.get(Object(document), 'chunk_size')
  } catch (cause) {
    throw new DamagedBlob('it is not JSON', { cause })
  }
  if (typeof blockBytes !== 'number' || !Number.isSafeInteger(blockBytes) || blockBytes < 1) {
    throw new DamagedBlob('it does not tell its block size')
  }
  return new BlockDigests(blockBytes, list.taken())
}
