import { mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { type Bytes, giveBack, MiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { BackendError, Invalid, Misconfigured, messageOf, NoCapacity, NotFound } from '../../kernel/errors.ts'
import type { BackupPlan } from '../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from './chunked/blob-store.ts'

/** A file that is being written has this behind its name until it is whole. */
const partialSuffix = '.partial'

export interface PosixStoreOptions {
  /** Where the backups lie; called at start, so that a missing share is found then. */
  readonly directory: () => Promise<string>
  readonly chunkBytes: number
  readonly blockBytes: number
  /** Container of backups that ask for none; a directory derived from the id when absent. */
  readonly container: string | undefined
  /** Whether containers may be made. */
  readonly mayCreate: boolean
}

/** Blobs as files of a directory, as Cinder's posix and NFS drivers lay them out. */
export class PosixBlobStore implements BlobStore {
  readonly lanes = 2
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly #options: PosixStoreOptions
  #root: string | undefined

  constructor(options: PosixStoreOptions) {
    this.#options = options
    this.chunkBytes = options.chunkBytes
    this.blockBytes = options.blockBytes
  }

  async start(call: Call): Promise<void> {
    call.signal.throwIfAborted()
    this.#root = await this.#options.directory()
  }

  place({ id, volumeId, createdAt, container }: BackupPlan) {
    const asked = container ?? this.#options.container
    if (asked !== undefined && !isInside('/backups', asked)) {
      throw new Invalid(`The container '${asked}' is not a relative path.`)
    }
    return {
      container: asked ?? `${id.slice(0, 2)}/${id.slice(2, 4)}/${id}`,
      prefix: `volume_${volumeId}_${createdAt.replaceAll(/[-:T]|\..*$/g, '').slice(0, 14)}_backup_${id}`,
    }
  }

  async open(place: BlobPlace, mode: 'read' | 'write', call: Call): Promise<BlobContainer> {
    call.signal.throwIfAborted()
    const directory = this.#directoryOf(place)
    if (mode === 'write') {
      if (this.#options.mayCreate) await mkdir(directory, { recursive: true, mode: 0o770 }).catch(failed)
      else await readdir(directory).catch(() => refuseMissing(place.container))
    }
    return {
      put: (name, data, putCall) => put(join(directory, safeName(name)), data, putCall),
      get: (name, getCall) => get(join(directory, safeName(name)), getCall),
      list: async () => (await names(directory, place.prefix)).filter((one) => !one.endsWith(partialSuffix)),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async remove(place: BlobPlace, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const directory = this.#directoryOf(place)
    for (const name of await names(directory, place.prefix)) {
      await rm(join(directory, name), { force: true }).catch(failed)
    }
    // directories that nothing else lies in were made for this backup
    const root = this.#rooted()
    for (let empty = directory; isInside(root, empty); empty = dirname(empty)) {
      try {
        await rmdir(empty)
      } catch {
        return
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #rooted(): string {
    if (this.#root === undefined) throw new BackendError('The driver has not started.', { left: 'nothing' })
    return this.#root
  }

  #directoryOf({ container }: BlobPlace): string {
    const root = this.#rooted()
    const directory = resolve(root, container)
    if (!isInside(root, directory)) throw new Invalid(`The container '${container}' lies outside ${root}.`)
    return directory
  }
}

/** Whether a path, taken from a directory, lies below it. */
function isInside(directory: string, path: string): boolean {
  const way = relative(directory, resolve(directory, path))
  return way !== '' && way !== '..' && !way.startsWith('../') && !isAbsolute(way)
}

function safeName(name: string): string {
  if (name.includes('/') || name.includes('\0')) throw new Invalid(`'${name}' is not the name of an object.`)
  return name
}

function refuseMissing(container: string): never {
  throw new BackendError(
    `The directory for container ${container} does not exist, and backup_create_containers is off.`,
    { left: 'nothing' },
  )
}

async function names(directory: string, prefix: string): Promise<readonly string[]> {
  const all = await readdir(directory).catch((error: unknown) =>
    isCode(error, 'ENOENT') ? [] : failed(error),
  )
  return all.filter((name) => name.startsWith(prefix))
}

/** Written beside its place and moved there when it is durable. */
async function put(path: string, data: Bytes, call: Call): Promise<void> {
  const partial = `${path}${partialSuffix}`
  try {
    const file = await open(partial, 'w', 0o660)
    try {
      let at = 0
      for await (const part of data) {
        call.signal.throwIfAborted()
        let written = 0
        while (written < part.byteLength) {
          const { bytesWritten } = await file.write(part, written, part.byteLength - written, at)
          written += bytesWritten
          at += bytesWritten
        }
        giveBack(part)
      }
      await file.datasync()
    } finally {
      await file.close()
    }
    await rename(partial, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {})
    call.signal.throwIfAborted()
    failed(error)
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

async function* get(path: string, call: Call): Bytes {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) throw new NotFound(`There is no file ${path}.`)
    return failed(error)
  })
  try {
    for (let at = 0; ; ) {
      call.signal.throwIfAborted()
      const buffer = Buffer.allocUnsafeSlow(MiB)
      const { bytesRead } = await file.read(buffer, 0, MiB, at).catch(failed)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

const isCode = (error: unknown, code: string) =>
  error instanceof Error && 'code' in error && error.code === code

/** The kernel's error for one of the file system; others pass. */
function failed(error: unknown): never {
  if (!(error instanceof Error) || !('syscall' in error)) throw error
  if (isCode(error, 'ENOSPC') || isCode(error, 'EDQUOT')) {
    throw new NoCapacity(`The backup directory is full: ${messageOf(error)}.`, { cause: error })
  }
  if (isCode(error, 'EACCES') || isCode(error, 'EPERM') || isCode(error, 'EROFS')) {
    throw new Misconfigured(`The backup directory cannot be used: ${messageOf(error)}.`, { cause: error })
  }
  throw new BackendError(messageOf(error), { left: 'unknown', cause: error })
}
