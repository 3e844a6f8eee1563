import type { Db } from '../../kernel/db/database.ts'
import { messageOf, StorageError } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment } from '../environment.ts'
import { enqueueDataDeletion } from '../images/delete.ts'
import { findRow } from '../images/queries.ts'
import { finishTask } from '../tasks/queries.ts'
import {
  editStoreLists,
  importingProperty,
  lockProperty,
  readProperty,
  removeProperty,
  writeProperty,
} from './bookkeeping.ts'
import type { ImportPayload } from './job.ts'
import { holdsImportLock } from './lock.ts'
import { ImageDeleted } from './running.ts'
import { removeStaged } from './source.ts'
import { type RemoteFacts, stateOf } from './state.ts'

/**
 * Undoes a failed import: what this run wrote is removed, the image is queued again, and its task says why.
 * @see image-api specification 4.4
 */
export async function failImport(
  environment: Environment,
  payload: ImportPayload,
  error: unknown,
  job: Pick<Job, 'log' | 'requestId' | 'state'>,
): Promise<void> {
  const { imageId, taskId, targets } = payload
  const isCopy = payload.method.name === 'copy-image'
  await environment.db.transaction().execute(async (transaction) => {
    await finishTask(transaction, environment, taskId, { status: 'failure', message: shownMessage(error) })
    const row = await findRow(transaction, imageId, { lock: true })
    if (row === undefined || !(await holdsImportLock(transaction, imageId, taskId))) return

    if (environment.stores.multiStore) {
      const waiting = ((await readProperty(transaction, imageId, importingProperty)) ?? '')
        .split(',')
        .filter((id) => targets.includes(id))
      await editStoreLists(transaction, imageId, { failed: waiting })
    }
    const locations = await transaction
      .selectFrom('image_locations')
      .select(['id', 'metadata'])
      .where('image_id', '=', imageId)
      .where('status', '=', 'active')
      .execute()
    const undone = locations.filter(({ metadata }) => {
      const { store } = JSON.parse(metadata) as { store?: string } // written by this service
      return !isCopy || targets.includes(store ?? '')
    })
    if (undone.length > 0) {
      await transaction
        .updateTable('image_locations')
        .set({ status: 'pending_delete' })
        .where('id', 'in', undone.map(({ id }) => id)) // biome-ignore format: one thought
        .execute()
      await enqueueDataDeletion(transaction, environment, imageId, job.requestId)
    }
    if (row.status === 'importing') {
      await transaction
        .updateTable('images')
        .set({
          ...(payload.removeOnFailure === true
            ? { status: 'deleted', deleted_at: environment.now().toISOString() }
            : { status: 'queued' }),
          size: null,
          virtual_size: null,
          checksum: null,
          os_hash_algo: null,
          os_hash_value: null,
          updated_at: environment.now().toISOString(),
        })
        .where('id', '=', imageId)
        .where('status', '=', 'importing')
        .execute()
    }
    const { before } = stateOf(job)
    if (before !== undefined) await restore(transaction, imageId, before)
    await removeProperty(transaction, imageId, lockProperty)
  })
  await removeStaged(environment, imageId)
  if (error instanceof ImageDeleted) job.log.info({ imageId, taskId }, 'import stopped: the image is gone')
  else job.log.error({ imageId, taskId, err: error }, 'import failed')
}

/** Gives the image back what plugins, or the record of another region, have changed. */
async function restore(db: Db<ImageTables>, imageId: string, before: RemoteFacts): Promise<void> {
  await db
    .updateTable('images')
    .set({ container_format: before.containerFormat, disk_format: before.diskFormat })
    .where('id', '=', imageId)
    .execute()
  await db
    .deleteFrom('image_properties')
    .where('image_id', '=', imageId)
    .where(({ not, eb }) =>
      not(eb(eb.fn<string>('substr', ['name', eb.lit(1), eb.lit(9)]), '=', 'os_glance')),
    )
    .execute()
  for (const [name, value] of Object.entries(before.properties)) {
    await writeProperty(db, imageId, name, value)
  }
}

/** What the user is told: our own words, never those of a library. */
function shownMessage(error: unknown): string {
  if (error instanceof StorageError || error instanceof ImageDeleted) return messageOf(error)
  return 'The import failed. The log of the service says why.'
}
