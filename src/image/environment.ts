import type { Kysely } from 'kysely'
import type { RequestContext } from '../kernel/http/request-context.ts'
import type { JobQueue } from '../kernel/jobs/job-queue.ts'
import type { Logger } from '../kernel/log.ts'
import type { DigestPool } from './data/digest-pool.ts'
import type { Uploads } from './data/uploads.ts'
import type { ImageTables } from './db/tables.ts'
import type { Policy } from './policy.ts'
import type { ImageSchemas } from './schemas/image-schemas.ts'
import type { ImageSettings } from './settings.ts'
import type { StoreRegistry } from './store-registry.ts'

/** What the verbs of the image service work with. One for each service. */
export interface Environment {
  readonly db: Kysely<ImageTables>
  readonly engine: 'sqlite' | 'postgres'
  readonly jobs: JobQueue
  readonly stores: StoreRegistry
  readonly settings: ImageSettings
  readonly schemas: ImageSchemas
  readonly policy: Policy
  readonly digests: DigestPool
  readonly uploads: Uploads
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
