import type { Kysely } from 'kysely'
import type { RequestContext } from '../kernel/http/request-context.ts'
import type { JobQueue } from '../kernel/jobs/job-queue.ts'
import type { Logger } from '../kernel/log.ts'
import { Secret } from '../kernel/secret.ts'
import type { ImageCache } from './cache/image-cache.ts'
import type { CacheSettings } from './cache/options.ts'
import type { DigestPool } from './data/digest-pool.ts'
import type { Staging } from './data/staging.ts'
import type { Uploads } from './data/uploads.ts'
import type { ImageTables } from './db/tables.ts'
import type { Requester } from './image-store.ts'
import type { ImportSettings } from './import/options.ts'
import type { RunningImports } from './import/running.ts'
import type { Notifications } from './notifications.ts'
import type { Policy } from './policy.ts'
import type { PropertyProtections } from './property-protections.ts'
import type { Quotas } from './quotas.ts'
import type { ImageSchemas } from './schemas/image-schemas.ts'
import type { ImageSettings } from './settings.ts'
import type { KeyManager } from './signatures/key-manager.ts'
import type { StoreRegistry } from './store-registry.ts'

/**
 * The URL of an Image service in the catalog of whoever the token belongs to.
 * @throws StorageError when the catalog has none
 */
export type ImageEndpoint = (
  where: { readonly region: string; readonly interface: string },
  token: string,
  signal: AbortSignal,
) => Promise<string>

/** What the verbs of the image service work with. One for each service. */
export interface Environment {
  readonly db: Kysely<ImageTables>
  readonly engine: 'sqlite' | 'postgres'
  readonly jobs: JobQueue
  readonly stores: StoreRegistry
  readonly settings: ImageSettings
  readonly schemas: ImageSchemas
  readonly policy: Policy
  readonly protections: PropertyProtections
  readonly notifications: Notifications
  readonly keys: KeyManager
  readonly digests: DigestPool
  readonly uploads: Uploads
  readonly quotas: Quotas
  readonly staging: Staging
  readonly imports: ImportSettings
  /** The imports that run in this process. */
  readonly running: RunningImports
  /** Finds the Image service of a region for a requester; undefined when there is no catalog to ask. */
  readonly imageEndpoint: ImageEndpoint | undefined
  /** Of this node; undefined when no directory is configured for it. */
  readonly cache: ImageCache | undefined
  readonly cacheSettings: CacheSettings
  /** Ways of importing that this service has and the configuration allows. */
  readonly importMethods: readonly string[]
  readonly log: Logger
  now(): Date
}

/** One request: who asks, and until when somebody waits for the answer. */
export interface ImageRequest extends RequestContext {
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal
  readonly log: Logger
}

/** On whose behalf stores are called for a request; nobody's, where the token is for no project. */
export function requesterOf({ identity, token }: RequestContext): Requester | undefined {
  const { projectId, userId } = identity
  return projectId === undefined ? undefined : { projectId, userId, token: new Secret(token) }
}
