import { type FileHandle, open } from 'node:fs/promises'
import type { BlockDevice, Cancel, Done } from '@emberglass/iscsi/device'

/** Random access to bytes at any offset: what a format reader needs of the file or device it reads. */
export interface RandomReader extends AsyncDisposable {
  /** Bytes, exactly. */
  readonly sizeBytes: number
  /**
   * Fills the whole of `into` from `offset`; the buffer is the caller's again once it is done.
   * @throws RangeError when the range is not inside the source
   */
  read(offset: number, into: Uint8Array, cancel: Cancel): Done
}

/** A file, opened for reading. */
export class FileReader implements RandomReader {
  readonly sizeBytes: number
  readonly #file: FileHandle

  private constructor(file: FileHandle, sizeBytes: number) {
    this.#file = file
    this.sizeBytes = sizeBytes
  }

  static async open(path: string): Promise<FileReader> {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      return new FileReader(file, size)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async read(offset: number, into: Uint8Array, cancel: Cancel): Promise<void> {
    let done = 0
    while (done < into.byteLength) {
      cancel.signal.throwIfAborted()
      const { bytesRead } = await this.#file.read(into, done, into.byteLength - done, offset + done)
      if (bytesRead === 0) throw new RangeError(`the file ended at byte ${offset + done}`)
      done += bytesRead
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}

/**
 * A block device read at any byte. Disposing the reader disposes the device.
 * @param sizeBytes length of the image on the device; the rest of it is not looked at
 */
export function readerOfDevice(device: BlockDevice, sizeBytes = device.sizeBytes): RandomReader {
  return {
    sizeBytes: Math.min(sizeBytes, device.sizeBytes),
    read(offset, into, cancel): Done {
      const start = offset - (offset % device.blockSize)
      const end = Math.ceil((offset + into.byteLength) / device.blockSize) * device.blockSize
      if (start === offset && end === offset + into.byteLength) return device.read(offset, into, cancel)
      return readUnaligned(device, start, end, offset, into, cancel)
    },
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  }
}

async function readUnaligned(
  device: BlockDevice,
  start: number,
  end: number,
  offset: number,
  into: Uint8Array,
  cancel: Cancel,
): Promise<void> {
  const blocks = new Uint8Array(end - start)
  await device.read(start, blocks, cancel)
  into.set(blocks.subarray(offset - start, offset - start + into.byteLength))
}

/**
 * A source that serves ranges as streams: an image store, an HTTP resource.
 * @param ranges the bytes from `start` up to but not including `end`
 */
export function readerOfRanges(
  sizeBytes: number,
  ranges: (start: number, end: number, cancel: Cancel) => AsyncIterable<Uint8Array>,
): RandomReader {
  return {
    sizeBytes,
    async read(offset, into, cancel) {
      if (offset < 0 || offset + into.byteLength > sizeBytes) {
        throw new RangeError(`bytes ${offset}+${into.byteLength} lie outside a source of ${sizeBytes} bytes`)
      }
      let done = 0
      for await (const chunk of ranges(offset, offset + into.byteLength, cancel)) {
        if (done + chunk.byteLength > into.byteLength) {
          throw new RangeError(`the source sent more than the ${into.byteLength} bytes asked for`)
        }
        into.set(chunk, done)
        done += chunk.byteLength
      }
      if (done < into.byteLength) throw new RangeError(`the source ended at byte ${offset + done}`)
    },
    async [Symbol.asyncDispose]() {},
  }
}
