import { read, readSync, write, writeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { type BlockDevice, type Cancel, checkRange, type Done } from './block-device.ts'
import { InlineGuard } from './inline-guard.ts'

/** Longest reads and writes that block the event loop: what the page cache does faster than a thread is woken. */
const INLINE_READ_BYTES = 128 * 1024
const INLINE_WRITE_BYTES = 256 * 1024
/** A write of this mean duration found no room in the page cache, in ms. */
const SLOW_WRITE_MS = 1

/**
 * A raw file as a device. Its size is that of the file, rounded down to whole blocks. Short transfers go to the page
 * cache at once, as long as that answers quickly; the others go through Node's thread pool (`UV_THREADPOOL_SIZE`).
 */
export class FileDevice implements BlockDevice {
  readonly blockSize: number
  readonly sizeBytes: number
  readonly #file: FileHandle
  readonly #reads = new InlineGuard()
  readonly #writes = new InlineGuard(SLOW_WRITE_MS)

  private constructor(file: FileHandle, sizeBytes: number, blockSize: number) {
    this.#file = file
    this.sizeBytes = sizeBytes
    this.blockSize = blockSize
  }

  /** @param mode `'r'` opens for reading only; a later write then fails with EBADF */
  static async open(path: string, mode: 'r' | 'rw', blockSize = 512): Promise<FileDevice> {
    const file = await open(path, mode === 'r' ? 'r' : 'r+')
    try {
      const { size } = await file.stat()
      return new FileDevice(file, size - (size % blockSize), blockSize)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, into.byteLength)
    if (into.byteLength > INLINE_READ_BYTES || !this.#reads.allows()) {
      return this.#all(into, (done) => this.#readLater(into, done, offset + done))
    }
    const started = performance.now()
    for (let done = 0; done < into.byteLength; ) {
      done += mustMove(
        readSync(this.#file.fd, into, done, into.byteLength - done, offset + done),
        offset + done,
      )
    }
    this.#reads.took(performance.now() - started)
    return undefined
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, data.byteLength)
    if (data.byteLength > INLINE_WRITE_BYTES || !this.#writes.allows()) {
      return this.#all(data, (done) => this.#writeLater(data, done, offset + done))
    }
    const started = performance.now()
    for (let done = 0; done < data.byteLength; ) {
      done += writeSync(this.#file.fd, data, done, data.byteLength - done, offset + done)
    }
    this.#writes.took(performance.now() - started)
    return undefined
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    await this.#file.datasync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }

  /** Goes on where a transfer stopped short. */
  async #all(buffer: Uint8Array, part: (done: number) => Promise<number>): Promise<void> {
    for (let done = 0; done < buffer.byteLength; ) done += await part(done)
  }

  #readLater(into: Uint8Array, done: number, at: number): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.#file.fd, into, done, into.byteLength - done, at, (error, bytes) => {
        if (error) reject(error)
        else if (bytes === 0) reject(endedAt(at))
        else resolve(bytes)
      })
    })
  }

  #writeLater(data: Uint8Array, done: number, at: number): Promise<number> {
    return new Promise((resolve, reject) => {
      write(this.#file.fd, data, done, data.byteLength - done, at, (error, bytes) => {
        if (error) reject(error)
        else resolve(bytes)
      })
    })
  }
}

function mustMove(bytes: number, at: number): number {
  if (bytes === 0) throw endedAt(at)
  return bytes
}

function endedAt(at: number): RangeError {
  return new RangeError(`the file ended at byte ${at}`)
}
