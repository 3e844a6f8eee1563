import { MiB } from '../kernel/bytes.ts'
import type { Db } from '../kernel/db/database.ts'
import { OverQuota } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { ImageTables } from './db/tables.ts'
import type { ImageRequest } from './environment.ts'
import type { ImageRow } from './images/queries.ts'
import { importingProperty } from './import/bookkeeping.ts'
import type { ImportMethod } from './import/request.ts'

/** The unified limits of this service. Sizes are in MiB. @see image-api specification 3.9 */
export const limitNames = [
  'image_size_total',
  'image_stage_total',
  'image_count_total',
  'image_count_uploading',
] as const
export type LimitName = (typeof limitNames)[number]

/**
 * A project's limits, as Keystone has registered them. One that is not registered is missing, and lets nothing
 * pass.
 */
export type LimitSource = (
  projectId: string,
  signal: AbortSignal,
) => Promise<Readonly<Partial<Record<LimitName, number>>>>

const gone = ['deleted', 'killed', 'pending_delete']
const filling = ['saving', 'uploading', 'importing']

/** What projects may use: `user_storage_quota`, or the unified limits that Keystone keeps. */
export class Quotas {
  readonly #db: Db<ImageTables>
  readonly #log: Logger
  /** Bytes of a project over all stores; 0 for no limit. Not looked at with unified limits. */
  readonly #storageBytes: number
  readonly #limits: LimitSource | undefined

  constructor(options: {
    db: Db<ImageTables>
    log: Logger
    storageBytes: number
    limits: LimitSource | undefined
  }) {
    this.#db = options.db
    this.#log = options.log
    this.#storageBytes = options.storageBytes
    this.#limits = options.limits
  }

  /** @throws OverQuota */
  async checkCreate(request: ImageRequest): Promise<void> {
    await this.#enforce(request, { image_count_total: 1 })
  }

  /** @param announcedBytes undefined when nobody knows. @throws OverQuota */
  async checkUpload(request: ImageRequest, announcedBytes: number | undefined): Promise<void> {
    await this.#enforce(request, { image_size_total: mib(announcedBytes), image_count_uploading: 1 })
  }

  /** @throws OverQuota */
  async checkStage(request: ImageRequest, announcedBytes: number | undefined): Promise<void> {
    await this.#enforce(request, { image_stage_total: mib(announcedBytes), image_count_uploading: 1 })
  }

  /** @throws OverQuota */
  async checkImport(request: ImageRequest, image: ImageRow, method: ImportMethod['name']): Promise<void> {
    // staged data counts as uploading already
    const more = method === 'glance-direct' ? 0 : 1
    await this.#enforce(request, { image_size_total: 0, image_count_uploading: more })
    const used = await this.usedBytes(image.owner)
    const size = image.size ?? 0
    if (this.#storageBytes > 0 && used + size > this.#storageBytes) throw this.#full()
  }

  /**
   * How many bytes a project may still store.
   * @returns undefined for no limit
   * @throws OverQuota when what is announced is too much
   */
  async remainingBytes(
    owner: string | null,
    announcedBytes: number | undefined,
  ): Promise<number | undefined> {
    if (this.#limits !== undefined || this.#storageBytes === 0) return undefined
    const remaining = Math.max(0, this.#storageBytes - (await this.usedBytes(owner)))
    if (announcedBytes !== undefined && announcedBytes > remaining) throw this.#full()
    return remaining
  }

  #full(): OverQuota {
    return new OverQuota(
      `Denying attempt to upload image because it exceeds the quota: the project may store ${this.#storageBytes} bytes.`,
    )
  }

  /** What is used of each limit, and the limit; empty without unified limits. */
  async usage(
    request: ImageRequest,
  ): Promise<Readonly<Record<string, { readonly usage: number; readonly limit: number }>>> {
    const { projectId } = request.identity
    if (this.#limits === undefined || projectId === undefined) return {}
    const limits = await this.#limits(projectId, request.signal)
    const used = await Promise.all(limitNames.map((name) => this.#used(name, projectId)))
    return Object.fromEntries(
      limitNames.map((name, index) => [name, { usage: used[index] ?? 0, limit: limits[name] ?? 0 }]),
    )
  }

  async #enforce(request: ImageRequest, deltas: Readonly<Partial<Record<LimitName, number>>>): Promise<void> {
    const { projectId } = request.identity
    if (this.#limits === undefined || projectId === undefined) return
    const limits = await this.#limits(projectId, request.signal)
    for (const name of limitNames) {
      const delta = deltas[name]
      if (delta === undefined) continue
      const limit = limits[name]
      if (limit === undefined) {
        this.#log.warn({ limit: name }, 'the limit is not registered in Keystone, and so lets nothing pass')
      }
      if (limit === -1) continue
      const used = await this.#used(name, projectId)
      if (used + delta > (limit ?? 0)) {
        throw new OverQuota(
          `Project ${projectId} is over a limit for [Resource ${name} is over limit of ${limit ?? 0} due to current usage ${used} and delta ${delta}]`,
        )
      }
    }
  }

  async #used(name: LimitName, projectId: string): Promise<number> {
    switch (name) {
      case 'image_size_total':
        return mib(await this.usedBytes(projectId))
      case 'image_stage_total':
        return mib((await this.#filling(projectId)).bytes)
      case 'image_count_uploading':
        return (await this.#filling(projectId)).count
      case 'image_count_total': {
        const { count } = await this.#db
          .selectFrom('images')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('owner', '=', projectId)
          .where('status', 'not in', gone)
          .executeTakeFirstOrThrow()
        return Number(count)
      }
    }
  }

  /** Bytes of a project's images, once for each store that has them. */
  async usedBytes(owner: string | null): Promise<number> {
    if (owner === null) return 0
    const { bytes } = await this.#db
      .selectFrom('images')
      .innerJoin('image_locations', 'image_locations.image_id', 'images.id')
      .select(({ fn }) => fn.sum<number | null>('images.size').as('bytes'))
      .where('images.owner', '=', owner)
      .where('images.status', 'not in', gone)
      .where('image_locations.status', '=', 'active')
      .executeTakeFirstOrThrow()
    return Number(bytes ?? 0)
  }

  /** Images whose data is on its way, or being copied. */
  async #filling(projectId: string): Promise<{ bytes: number; count: number }> {
    const { bytes, count } = await this.#db
      .selectFrom('images')
      .select(({ fn }) => [fn.sum<number | null>('size').as('bytes'), fn.countAll<number>().as('count')])
      .where('owner', '=', projectId)
      .where('deleted_at', 'is', null)
      .where((images) =>
        images.or([
          images('status', 'in', filling),
          images.exists(
            images
              .selectFrom('image_properties')
              .select('image_properties.image_id')
              .whereRef('image_properties.image_id', '=', 'images.id')
              .where('image_properties.name', '=', importingProperty)
              .where('image_properties.value', '!=', ''),
          ),
        ]),
      )
      .executeTakeFirstOrThrow()
    return { bytes: Number(bytes ?? 0), count: Number(count) }
  }
}

/** Whole MiB: small images count as nothing. */
function mib(bytes: number | undefined): number {
  return Math.floor((bytes ?? 0) / MiB)
}
