import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  chmod,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type ByteRange, type Bytes, MiB, watchBytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import {
  BackendError,
  Conflict,
  Invalid,
  Misconfigured,
  messageOf,
  NoCapacity,
  NotFound,
  StorageError,
} from '../../kernel/errors.ts'
import { defineImageStore, type ImageStore, type StoredImage } from '../image-store.ts'
import { fileStoreOptions } from './file-options.ts'
import { writeFile } from './file-writer.ts'

/** Bytes of one read, and reads of one download: each waits for a thread, and for the event loop, on its way. */
const readBytes = MiB
const readsAhead = 4
/** Names of files that are being written: `.<image id>.<random>.part`. */
const partialPattern = /^\.(.+)\.[0-9a-f]{16}\.part$/
const imageIdPattern = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/

export interface FileStoreSettings {
  /** One directory, and the priority with which new images go there. */
  readonly directories: readonly { readonly path: string; readonly priority: number }[]
  /** Leave stretches of zeroes out of the file. */
  readonly thinProvisioning: boolean
  /** Bytes of a stretch that is looked at for zeroes. */
  readonly chunkBytes: number
  /** Mode of the files; undefined leaves it to the umask. */
  readonly fileMode: number | undefined
}

/** Images as files named by their id. A file has its final name only once it is whole and on disk. */
export class FileStore implements ImageStore {
  readonly #settings: FileStoreSettings
  readonly #roots: string[] = []

  constructor(settings: FileStoreSettings) {
    this.#settings = settings
  }

  get properties() {
    return {
      data_dir: this.#settings.directories.map(({ path }) => path).join(','),
      chunk_size: this.#settings.chunkBytes,
      thin_provisioning: this.#settings.thinProvisioning,
    }
  }

  async start(): Promise<void> {
    this.#roots.length = 0
    for (const { path } of this.#settings.directories) {
      try {
        await mkdir(path, { recursive: true })
        const root = await realpath(path)
        const group = ((this.#settings.fileMode ?? 0) & 0o060) === 0 ? 0 : 0o010
        const others = ((this.#settings.fileMode ?? 0) & 0o006) === 0 ? 0 : 0o001
        if ((group | others) !== 0) await chmod(root, ((await stat(root)).mode & 0o7777) | group | others)
        this.#roots.push(root)
      } catch (error) {
        throw new Misconfigured(`The image directory ${path} cannot be used: ${messageOf(error)}.`, {
          details: { option: 'filesystem_store_datadir', path },
          cause: error,
        })
      }
    }
  }

  async put(imageId: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<StoredImage> {
    if (imageId === '' || imageId.startsWith('.') || basename(imageId) !== imageId) {
      throw new Invalid(`'${imageId}' is not the id of an image.`)
    }
    for (const root of this.#roots) {
      if (await exists(join(root, imageId))) throw alreadyThere(imageId)
    }
    const root = await this.#chooseRoot(sizeBytes)
    const path = join(root, imageId)
    const partial = join(root, `.${imageId}.${randomBytes(8).toString('hex')}.part`)
    const source = watchBytes(data)
    try {
      const file = await open(partial, 'wx', this.#settings.fileMode ?? 0o666)
      try {
        if (this.#settings.fileMode !== undefined) await file.chmod(this.#settings.fileMode)
        const written = await writeFile(file, source.bytes, call, {
          zeroChunkBytes: this.#settings.thinProvisioning ? this.#settings.chunkBytes : undefined,
        })
        await file.sync()
        await publish(partial, path, imageId)
        await syncDirectory(root)
        return { location: pathToFileURL(path).href, sizeBytes: written }
      } finally {
        await file.close()
      }
    } catch (error) {
      await unlinkIfThere(partial)
      throw source.threw(error) ? error : asKernelError(error, 'written')
    }
  }

  async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    call.signal.throwIfAborted()
    await using opened = await this.#open(location)
    const { size } = await opened.file.stat()
    const end = Math.min(range?.end ?? size, size)
    const start = range?.start ?? 0
    // buffers in turns: one is sent while the others are filled
    const length = Math.max(1, Math.min(readBytes, end - start))
    const count = Math.min(readsAhead, Math.ceil((end - start) / length))
    const free: Uint8Array[] = Array.from({ length: count }, () => Buffer.allocUnsafeSlow(length))
    const ahead: { readonly whole: Uint8Array; readonly reading: Promise<Uint8Array> }[] = []
    let position = start
    try {
      for (;;) {
        for (let into = free.pop(); into !== undefined; into = free.pop()) {
          if (position >= end) break
          const reading = readAt(opened.file, into.subarray(0, end - position), position)
          reading.catch(() => {}) // heard of in its turn
          ahead.push({ whole: into, reading })
          position += Math.min(length, end - position)
        }
        const first = ahead[0]
        if (first === undefined) return
        const chunk = await first.reading
        ahead.shift()
        const { whole } = first
        call.signal.throwIfAborted()
        yield chunk
        free.push(whole)
      }
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason
      throw asKernelError(error, 'read')
    } finally {
      await Promise.allSettled(ahead.map(({ reading }) => reading)) // the file must not be closed under a pending read
    }
  }

  async size(location: string): Promise<number> {
    await using opened = await this.#open(location)
    return (await opened.file.stat()).size
  }

  owns(location: string): boolean {
    const path = pathOf(location)
    const directories = [...this.#roots, ...this.#settings.directories.map((directory) => directory.path)]
    return path !== undefined && directories.some((directory) => path.startsWith(directory + sep))
  }

  async delete(location: string): Promise<void> {
    const path = await this.#path(location)
    try {
      await unlink(path)
    } catch (error) {
      if (isCode(error, 'ENOENT')) return
      throw asKernelError(error, 'deleted')
    }
    await syncDirectory(dirname(path))
  }

  async capacity(): Promise<{ totalBytes: number; freeBytes: number }> {
    let totalBytes = 0
    let freeBytes = 0
    for (const root of this.#roots) {
      const { bsize, blocks, bavail } = await statfs(root)
      totalBytes += blocks * bsize
      freeBytes += bavail * bsize
    }
    return { totalBytes, freeBytes }
  }

  async sweep(isKnown: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    for (const root of this.#roots) {
      for (const name of await readdir(root)) {
        call.signal.throwIfAborted()
        const imageId = partialPattern.exec(name)?.[1] ?? name
        if (!imageIdPattern.test(imageId) || (await isKnown(imageId))) continue
        await unlinkIfThere(join(root, name))
        call.log.info({ imageId, file: name }, 'removed what an interrupted upload left')
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** The directory with the highest priority that has room, the emptiest of equals. */
  async #chooseRoot(sizeBytes: number | undefined): Promise<string> {
    const [only] = this.#roots
    if (only === undefined)
      throw new BackendError('The image store has not been started.', { left: 'nothing' })
    if (this.#roots.length === 1) return only
    const candidates = await Promise.all(
      this.#roots.map(async (root, index) => {
        const { bsize, bavail } = await statfs(root)
        return { root, priority: this.#settings.directories[index]?.priority ?? 0, freeBytes: bsize * bavail }
      }),
    )
    const fitting = candidates
      .filter(({ freeBytes }) => freeBytes > (sizeBytes ?? 0))
      .sort((a, b) => b.priority - a.priority || b.freeBytes - a.freeBytes)
    if (fitting[0] === undefined) throw new NoCapacity('No image directory has room for the image.')
    return fitting[0].root
  }

  /** @throws Invalid for a location outside our directories, wherever its links lead */
  async #path(location: string): Promise<string> {
    const path = pathOf(location)
    if (path === undefined) throw new Invalid('The location is not that of a file.')
    const directory = await realpath(dirname(path)).catch(() => dirname(path))
    if (!this.#roots.some((root) => directory === root || directory.startsWith(root + sep))) {
      throw new Invalid('The location lies outside the directories of this image store.')
    }
    return join(directory, basename(path))
  }

  async #open(location: string): Promise<{ file: FileHandle } & AsyncDisposable> {
    const path = await this.#path(location)
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
      return { file, [Symbol.asyncDispose]: () => file.close() }
    } catch (error) {
      if (isCode(error, 'ENOENT')) throw new NotFound('The image data is not in the store.', { cause: error })
      throw asKernelError(error, 'read')
    }
  }
}

/** @returns undefined for a location that is no file's */
function pathOf(location: string): string | undefined {
  try {
    return resolve(fileURLToPath(location.replace(/^filesystem:/, 'file:')))
  } catch {
    return undefined
  }
}

/** Fills `into`. */
async function readAt(file: FileHandle, into: Uint8Array, position: number): Promise<Uint8Array> {
  for (let done = 0; done < into.byteLength; ) {
    const { bytesRead } = await file.read(into, done, into.byteLength - done, position + done)
    if (bytesRead === 0) throw new BackendError('The image file became shorter.', { left: 'nothing' })
    done += bytesRead
  }
  return into
}

/** Gives a finished file its name, unless another one has it. */
async function publish(partial: string, path: string, imageId: string): Promise<void> {
  try {
    await link(partial, path)
  } catch (error) {
    if (isCode(error, 'EEXIST')) throw alreadyThere(imageId)
    if (!isCode(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK', 'ENOSYS')) throw error
    if (await exists(path)) throw alreadyThere(imageId) // a file system without links
    await rename(partial, path)
    return
  }
  await unlinkIfThere(partial)
}

function alreadyThere(imageId: string): Conflict {
  return new Conflict(`Image ${imageId} is in the store already.`)
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

async function unlinkIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (!isCode(error, 'ENOENT')) throw asKernelError(error, 'deleted')
  })
}

/** Makes the names in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

function asKernelError(error: unknown, what: 'read' | 'written' | 'deleted'): unknown {
  if (error instanceof StorageError) return error
  if (isCode(error, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
    return new NoCapacity('The image store has no room for the image.', { cause: error })
  }
  if (!(error instanceof Error && 'syscall' in error)) return error // the reason of an abort
  const denied = isCode(error, 'EACCES', 'EPERM', 'EROFS')
  return new BackendError(`The image file could not be ${what}.`, {
    left: what === 'read' ? 'nothing' : 'unknown',
    cause: error,
    ...(denied ? { details: { reason: 'denied' } } : {}),
  })
}

export default defineImageStore({
  type: 'file',
  schemes: ['file', 'filesystem'],
  options: fileStoreOptions,
  create(settings, store) {
    if (settings.directory !== undefined && settings.directories.length > 0) {
      throw new Misconfigured(
        `[${store.name}] has both filesystem_store_datadir and filesystem_store_datadirs: give one of them.`,
        { details: { option: 'filesystem_store_datadirs', section: store.name } },
      )
    }
    const fallback = join(store.stateDirectory, store.name === 'file' ? 'images' : `images-${store.name}`)
    const directories = settings.directories.map((entry) => {
      const [, path = entry, priority = '0'] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? []
      return { path: resolve(path), priority: Number(priority) }
    })
    return new FileStore({
      directories:
        directories.length > 0
          ? directories
          : [{ path: resolve(settings.directory ?? fallback), priority: 0 }],
      thinProvisioning: settings.thinProvisioning,
      chunkBytes: Math.max(512, Math.min(settings.chunkBytes, 4 * MiB)),
      fileMode: settings.fileMode === 0 ? undefined : settings.fileMode,
    })
  },
})
