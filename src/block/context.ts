import type { Kysely, Transaction } from 'kysely'
import type { SecretBox } from '../kernel/crypto/secret-box.ts'
import type { JobQueue, Json } from '../kernel/jobs/job-queue.ts'
import type { Locks } from '../kernel/locks/locks.ts'
import type { Logger } from '../kernel/log.ts'
import type { Notifier } from '../kernel/notifications/notifier.ts'
import type { Backends } from './backends.ts'
import type { BackupHandlers } from './backups/handlers.ts'
import type { Tables } from './db/tables.ts'
import type { ImageService } from './image-service.ts'
import type { BlockSettings } from './settings.ts'

/** What the verbs of the block storage service work with. */
export interface Block {
  /** Inside a transaction use only the transaction: SQLite has one connection, anything else waits for ever. */
  readonly db: Kysely<Tables>
  readonly engine: 'sqlite' | 'postgres'
  readonly jobs: JobQueue
  readonly log: Logger
  readonly settings: BlockSettings
  readonly backends: Backends
  readonly backups: BackupHandlers
  readonly images: ImageService
  readonly notifications: Notifier
  /** For what several jobs must not do at once; drivers have their own. */
  readonly locks: Locks
  /** Where volumes lie while they are converted, unless the configuration says otherwise. */
  readonly conversionDirectory: string
  /** For what lies in the database and would let somebody into a volume. */
  readonly secrets: SecretBox
  readonly now: () => Date
}

/** A connection or a transaction on the service's tables. */
export type BlockDb = Kysely<Tables> | Transaction<Tables>

/** Enqueues a job in the transaction of the state change that it belongs to. */
export async function enqueue(
  block: Pick<Block, 'jobs'>,
  transaction: Transaction<Tables>,
  kind: string,
  job: { resource: string; payload: Json; requestId: string },
): Promise<void> {
  await block.jobs.enqueue(transaction.$pickTables<'jobs'>(), { kind }, job)
}
