import type { Bytes } from '../kernel/bytes.ts'

/**
 * Cuts a stream into streams of `segmentBytes` each, the last one shorter; none is empty. Each must be read to its
 * end, or the whole be left, before the next is pulled.
 */
export async function* segments(source: Bytes, segmentBytes: number): AsyncGenerator<Bytes> {
  const iterator = source[Symbol.asyncIterator]()
  let rest: Uint8Array | undefined
  /** The next bytes, at most `most` of them. */
  const pull = async (most: number): Promise<Uint8Array | undefined> => {
    while (rest === undefined || rest.byteLength === 0) {
      const { done, value } = await iterator.next()
      if (done === true) return undefined
      rest = value
    }
    const part = rest.subarray(0, most)
    rest = rest.subarray(part.byteLength)
    return part
  }
  try {
    for (;;) {
      const begin = await pull(segmentBytes)
      if (begin === undefined) return
      yield (async function* () {
        let left = segmentBytes
        for (let part: Uint8Array | undefined = begin; part !== undefined; part = await pull(left)) {
          left -= part.byteLength
          yield part
          if (left === 0) return
        }
      })()
    }
  } finally {
    await iterator.return?.()
  }
}
