import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Kysely, Selectable } from 'kysely'
import type { ByteRange, Bytes } from '../../kernel/bytes.ts'
import { type Call, sleep } from '../../kernel/call.ts'
import { Conflict, Invalid, messageOf } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { DigestPool } from '../data/digest-pool.ts'
import { type FanBranch, fanOut } from '../data/fan-out.ts'
import type { ImageCacheTable, ImageTables } from '../db/tables.ts'
import { FileStore } from '../stores/file.ts'

export type CacheEntry = Selectable<ImageCacheTable>

/** What the cache needs to know of an image. */
export interface CacheableImage {
  readonly id: string
  readonly size: number | null
  readonly checksum: string | null
}

/** How long an image can be seen in the queue before it is fetched, in milliseconds. */
const queueMs = 2_000
/** How long what is being fetched for nobody may take, in milliseconds. */
const fetchPatienceMs = 6 * 3_600_000

/**
 * Whole images in a directory of this node, for the next download. A file is there only when it is whole and its
 * checksum is right; the records are in the database.
 * @see image-api specification 10.4
 */
export class ImageCache implements AsyncDisposable {
  readonly node: string
  readonly #db: Kysely<ImageTables>
  readonly #directory: string
  readonly #files: FileStore
  readonly #digests: DigestPool
  readonly #maxBytes: number
  readonly #log: Logger
  readonly #now: () => Date
  readonly #filling = new Set<string>()
  readonly #background = new Set<Promise<void>>()
  readonly #stopping = new AbortController()

  constructor(options: {
    db: Kysely<ImageTables>
    node: string
    directory: string
    maxBytes: number
    digests: DigestPool
    log: Logger
    now: () => Date
  }) {
    this.node = options.node
    this.#db = options.db
    this.#directory = options.directory
    this.#maxBytes = options.maxBytes
    this.#digests = options.digests
    this.#log = options.log
    this.#now = options.now
    this.#files = new FileStore({
      directories: [{ path: options.directory, priority: 0 }],
      thinProvisioning: false,
      chunkBytes: 65_536,
      fileMode: 0o600,
    })
  }

  /** Drops what is not whole, or not recorded, any more. @throws Misconfigured when the directory cannot be used */
  async start(): Promise<void> {
    await this.#files.start()
    await this.clean()
  }

  /** The cached bytes, when they are there and are the image's. Counts a hit. */
  async open(image: CacheableImage, range: ByteRange | undefined, call: Call): Promise<Bytes | undefined> {
    const entry = await this.#entry(image.id)
    if (entry?.state !== 'cached') return undefined
    const size = await this.#files.size(this.#url(image.id)).catch(() => undefined)
    if (size === undefined || size !== image.size) {
      await this.remove(image.id)
      return undefined
    }
    await this.#db
      .updateTable('image_cache')
      .set({ hits: entry.hits + 1, last_accessed: this.#now().toISOString() })
      .where('image_id', '=', image.id)
      .where('node', '=', this.node)
      .execute()
    return this.#files.get(this.#url(image.id), range, call)
  }

  /**
   * Passes a download on, and keeps it. What breaks off, or is not what it should be, is not kept; a cache that
   * fails does not disturb the download.
   */
  fillFrom(image: CacheableImage, bytes: Bytes): Bytes {
    if (this.#filling.has(image.id)) return bytes
    const [toClient, toCache] = fanOut(bytes, 2)
    if (toClient === undefined || toCache === undefined) return bytes
    const leaving = new AbortController()
    this.#run(image.id, this.#keep(image, toCache, leaving.signal))
    return passOn(toClient, leaving)
  }

  /** Fetches an image that nobody downloads now. Several requests for one become one. */
  fetch(image: CacheableImage, open: (call: Call) => Bytes): void {
    if (this.#filling.has(image.id)) return
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(fetchPatienceMs)])
    const fetching = async () => {
      await sleep(queueMs, signal)
      if ((await this.#entry(image.id)) === undefined) return // taken out of the queue meanwhile
      const [branch] = fanOut(open({ signal, log: this.#log }), 1)
      if (branch !== undefined) await this.#keep(image, branch, signal)
    }
    this.#run(image.id, fetching())
  }

  #run(imageId: string, work: Promise<void>): void {
    this.#filling.add(imageId)
    const running = work
      .catch(async (error: unknown) => {
        if (this.#stopping.signal.aborted) return // the next process fetches what is queued
        this.#log.warn({ imageId, error: messageOf(error) }, 'an image could not be cached')
        await this.unqueue(imageId)
      })
      .catch((error: unknown) => this.#log.error({ imageId, err: error }, 'the cache could not be recorded'))
      .finally(() => {
        this.#filling.delete(imageId)
        this.#background.delete(running)
      })
    this.#background.add(running)
  }

  /** @throws Invalid when the data is not the image's; whatever the data's iteration throws */
  async #keep(image: CacheableImage, branch: FanBranch, leaving: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([leaving, this.#stopping.signal])
    using digests = this.#digests.begin(['md5'])
    let sizeBytes = 0
    async function* checked(): Bytes {
      for await (const chunk of branch.bytes) {
        const waiting = digests.push(chunk)
        if (waiting !== undefined) await waiting
        sizeBytes += chunk.byteLength
        yield chunk
      }
      const [checksum] = await digests.finish()
      const isRight = sizeBytes === image.size && (image.checksum === null || image.checksum === checksum)
      if (!isRight) throw new Invalid('The data is not what the image says.')
    }
    try {
      await this.#files.put(image.id, checked(), image.size ?? undefined, { signal, log: this.#log })
    } catch (error) {
      if (!(error instanceof Conflict)) throw error // it is there already
    } finally {
      await branch.leave()
    }
    await this.#record(image.id, 'cached', image.size ?? sizeBytes)
    await this.prune()
  }

  async #record(imageId: string, state: 'queued' | 'cached', size: number): Promise<void> {
    const now = this.#now().toISOString()
    await this.#db
      .insertInto('image_cache')
      .values({
        image_id: imageId,
        node: this.node,
        state,
        size,
        hits: 0,
        last_accessed: now,
        last_modified: now,
      })
      .onConflict((conflict) =>
        state === 'cached'
          ? conflict.columns(['image_id', 'node']).doUpdateSet({ state, size, last_modified: now })
          : conflict.columns(['image_id', 'node']).doNothing(),
      )
      .execute()
  }

  /** Remembers that an image is to be fetched. One that is there, or waits already, stays as it is. */
  async queue(imageId: string): Promise<void> {
    await this.#record(imageId, 'queued', 0)
  }

  /** What this node's cache holds or waits for, oldest first. */
  async entries(state: 'queued' | 'cached'): Promise<readonly CacheEntry[]> {
    return await this.#db
      .selectFrom('image_cache')
      .selectAll()
      .where('node', '=', this.node)
      .where('state', '=', state)
      .orderBy('last_accessed')
      .orderBy('image_id')
      .execute()
  }

  /** The nodes whose caches hold an image. */
  async nodesWith(imageId: string): Promise<readonly string[]> {
    const rows = await this.#db
      .selectFrom('image_cache')
      .select('node')
      .where('image_id', '=', imageId)
      .where('state', '=', 'cached')
      .orderBy('node')
      .execute()
    return rows.map(({ node }) => node)
  }

  async #entry(imageId: string): Promise<CacheEntry | undefined> {
    return await this.#db
      .selectFrom('image_cache')
      .selectAll()
      .where('image_id', '=', imageId)
      .where('node', '=', this.node)
      .executeTakeFirst()
  }

  /** Forgets an image, and removes its data. @returns whether there was an entry */
  async remove(imageId: string): Promise<boolean> {
    const removed = await this.#db
      .deleteFrom('image_cache')
      .where('image_id', '=', imageId)
      .where('node', '=', this.node)
      .executeTakeFirst()
    if (removed.numDeletedRows === 0n) return false
    await this.#files.delete(this.#url(imageId))
    return true
  }

  async unqueue(imageId: string): Promise<void> {
    await this.#db
      .deleteFrom('image_cache')
      .where('image_id', '=', imageId)
      .where('node', '=', this.node)
      .where('state', '=', 'queued')
      .execute()
  }

  /** @returns how many entries went away */
  async clear(state: 'queued' | 'cached'): Promise<number> {
    const entries = await this.entries(state)
    for (const entry of entries) await this.remove(entry.image_id)
    return entries.length
  }

  /** Removes files that are not whole or that no record knows, and records of deleted images. */
  async clean(): Promise<void> {
    const known = new Set((await this.entries('cached')).map((entry) => entry.image_id))
    await this.#files.sweep(async (imageId) => known.has(imageId) || this.#filling.has(imageId), {
      signal: this.#stopping.signal,
      log: this.#log,
    })
    const orphans = await this.#db
      .selectFrom('image_cache')
      .select('image_id')
      .where('node', '=', this.node)
      .where(({ not, exists, selectFrom }) =>
        not(
          exists(
            selectFrom('images')
              .select('images.id')
              .whereRef('images.id', '=', 'image_cache.image_id')
              .where('images.deleted_at', 'is', null),
          ),
        ),
      )
      .execute()
    for (const orphan of orphans) await this.remove(orphan.image_id)
  }

  /** Drops what has not been asked for longest, until the rest fits. */
  async prune(): Promise<{ files: number; bytes: number }> {
    const entries = await this.entries('cached')
    let excess = entries.reduce((sum, entry) => sum + entry.size, 0) - this.#maxBytes
    let files = 0
    let bytes = 0
    for (const entry of entries) {
      if (excess <= 0) break
      await this.remove(entry.image_id)
      excess -= entry.size
      bytes += entry.size
      files += 1
    }
    return { files, bytes }
  }

  /** Resolves when nothing is being fetched or kept. */
  async idle(): Promise<void> {
    await Promise.all(this.#background)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new Error('the service is stopping'))
    await this.idle()
  }

  #url(imageId: string): string {
    return pathToFileURL(join(this.#directory, imageId)).href
  }
}

/** The client's share of a download; when it goes away early, nothing is kept. */
async function* passOn(branch: FanBranch, leaving: AbortController): Bytes {
  let isWhole = false
  try {
    yield* branch.bytes
    isWhole = true
  } finally {
    if (!isWhole) leaving.abort(new Error('the download broke off'))
    await branch.leave()
  }
}
