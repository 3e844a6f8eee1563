import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdir, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type BlockDevice, copyDevice, FileDevice } from '@emberglass/iscsi/device'
import type { Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { BackendError, messageOf, Unsupported } from '../../kernel/errors.ts'

/** How long one conversion may take, in milliseconds. */
const conversionTimeoutMs = 6 * 3_600_000
/** What the formats of the Image API are called by qemu-img. */
const programFormats: Readonly<Record<string, string>> = { vhd: 'vpc' }

/** A disk in another format, in a file that goes when it is disposed of. */
export interface ConvertedDisk extends AsyncDisposable {
  readonly sizeBytes: number
  bytes(): Bytes
}

/**
 * Writes a device to a sparse file and converts that with qemu-img, which needs random access to both ends.
 * @param place the directory of the two files: made here, and gone when the disk is disposed of
 * @throws Unsupported without the program; BackendError when it fails
 */
export async function convertedDisk(
  device: BlockDevice,
  format: string,
  place: string,
  call: Call,
): Promise<ConvertedDisk> {
  await mkdir(place, { recursive: true, mode: 0o700 })
  const remove = () => rm(place, { recursive: true, force: true })
  try {
    const [raw, converted] = [join(place, 'raw'), join(place, 'converted')]
    await writeSparseFile(device, raw, call)
    await convert(raw, converted, programFormats[format] ?? format, call)
    await rm(raw)
    const { size } = await stat(converted)
    return { sizeBytes: size, bytes: () => createReadStream(converted), [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}

async function writeSparseFile(device: BlockDevice, path: string, call: Call): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  await handle.truncate(device.sizeBytes)
  await handle.close()
  await using file = await FileDevice.open(path, 'rw')
  await copyDevice(device, file, { skipZeroes: true, targetIsZeroed: true }, call)
}

async function convert(from: string, to: string, format: string, call: Call): Promise<void> {
  const argv = ['convert', '-f', 'raw', '-O', format, from, to]
  try {
    await promisify(execFile)('qemu-img', argv, { signal: call.signal, timeout: conversionTimeoutMs })
  } catch (error) {
    call.signal.throwIfAborted()
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new Unsupported(`Images of format ${format} need the program qemu-img, which is not installed.`)
    }
    throw new BackendError(`qemu-img could not convert the volume to ${format}: ${messageOf(error)}`, {
      left: 'nothing',
      cause: error,
    })
  }
}
