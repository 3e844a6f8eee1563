import { type Bytes, counted, limitBytes, MiB } from '../../kernel/bytes.ts'
import { Conflict, NotFound, OverQuota } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { Environment } from '../environment.ts'
import type { StoreCall } from '../image-store.ts'
import { detailed } from '../images/access.ts'
import { findRow, requireRow } from '../images/queries.ts'
import { findTask, finishTask, touchTask } from '../tasks/queries.ts'
import { editStoreLists, lockProperty, removeProperty } from './bookkeeping.ts'
import { failImport } from './fail.ts'
import { applyRemoteFacts, fetchRemoteImage } from './glance-download.ts'
import type { ImportPayload } from './job.ts'
import { holdsImportLock, isRunning } from './lock.ts'
import { runPlugins } from './plugins/run.ts'
import { openRemote } from './remote-data.ts'
import { removeStaged, storedData } from './source.ts'
import { stateOf } from './state.ts'
import { type ImportSource, storeData } from './store-data.ts'

/** Between two signs of life on the task, in milliseconds. */
const signMs = 60_000

/**
 * Imports an image's data, from the beginning or from where a process that died has left it: staged data is
 * there when it is whole, and stores that have it are recorded.
 * @see image-api specification 4.4
 */
export async function runImport(environment: Environment, payload: ImportPayload, job: Job): Promise<void> {
  const { imageId, taskId } = payload
  const task = await findTask(environment.db, taskId, environment.now())
  if (task === undefined || !isRunning(task)) return
  using running = environment.running.begin(imageId, job.signal)
  const requester = environment.running.requesterOf(taskId)
  const call: StoreCall = { signal: running.signal, log: job.log, requester }
  try {
    await checkpoint(environment, payload)
    await touchTask(environment.db, environment, taskId)
    const source = await provideSource(environment, payload, job, call)
    await checkpoint(environment, payload)
    await storeData(environment, payload, withProgress(environment, taskId, source), job, call)
    await finishImport(environment, payload)
    await removeStaged(environment, imageId)
    job.log.info({ imageId, taskId, stores: payload.targets }, 'image imported')
  } catch (error) {
    if (job.signal.aborted) throw error // the service stops: the next process goes on
    await failImport(environment, payload, running.signal.aborted ? running.signal.reason : error, job)
  }
  environment.running.forget(taskId)
}

/** @throws Conflict when another task has the image's lock; NotFound when the image is gone */
async function checkpoint(environment: Environment, { imageId, taskId }: ImportPayload): Promise<void> {
  if ((await findRow(environment.db, imageId)) === undefined) {
    throw new NotFound(`Image ${imageId} has been deleted.`)
  }
  if (!(await holdsImportLock(environment.db, imageId, taskId))) {
    throw new Conflict(`Another task has taken over image ${imageId}.`)
  }
}

/** Brings the data to where it can be read again and again: the staging area, or the stores it is copied from. */
async function provideSource(
  environment: Environment,
  payload: ImportPayload,
  job: Job,
  call: StoreCall,
): Promise<ImportSource> {
  const { imageId, method } = payload
  if (method.name === 'copy-image') {
    const image = await detailed(environment.db, await requireRow(environment.db, imageId))
    return { read: () => storedData(environment, image, call), sizeBytes: image.size ?? undefined }
  }
  const { staging } = environment
  const isStaged = (await staging.size(imageId)) !== undefined || stateOf(job).staged !== undefined
  if (!isStaged) await stageRemote(environment, payload, job, call)
  const { remote } = stateOf(job)
  if (remote !== undefined) await applyRemoteFacts(environment, job, imageId, remote)
  const name = await runPlugins(environment, payload, job, call)
  const sizeBytes = await staging.size(name)
  if (sizeBytes === undefined) throw new NotFound(`The staged data of image ${imageId} is gone.`)
  return { read: () => staging.read(name, call), sizeBytes }
}

/** @throws NotFound when the data should have been there already */
async function stageRemote(
  environment: Environment,
  payload: ImportPayload,
  job: Job,
  call: StoreCall,
): Promise<void> {
  const { imageId, taskId, method } = payload
  // a run that died in the middle has left a piece
  if (job.attempt > 1) await environment.staging.sweep(async (id) => id !== imageId, call)
  let remote: { readonly bytes: Bytes; readonly sizeBytes: number | undefined }
  if (method.name === 'web-download') {
    remote = await openRemote(method.uri, environment.imports.filter, call)
  } else if (method.name === 'glance-download') {
    remote = await fetchRemoteImage(environment, payload, method, job, call)
  } else {
    throw new NotFound(`The staged data of image ${imageId} is gone.`)
  }
  const { imageSizeCapBytes } = environment.settings
  const limited = limitBytes(
    remote.bytes,
    imageSizeCapBytes,
    () => new OverQuota(`The image is larger than the ${imageSizeCapBytes} bytes allowed.`),
  )
  const data = progressing(environment, taskId, limited)
  const size = await environment.staging.write(imageId, data, remote.sizeBytes, call)
  if (remote.sizeBytes !== undefined && size !== remote.sizeBytes) {
    await environment.staging.remove(imageId)
    throw new Conflict(`The source sent ${size} of ${remote.sizeBytes} bytes.`)
  }
}

function withProgress(environment: Environment, taskId: string, source: ImportSource): ImportSource {
  return { ...source, read: () => progressing(environment, taskId, source.read()) }
}

/** Shows on the task, about every minute, how far the data has come: also so that nobody takes the lock. */
function progressing(environment: Environment, taskId: string, source: Bytes): Bytes {
  let total = 0
  let shownAt = Date.now()
  return counted(source, (bytes) => {
    total += bytes
    if (Date.now() - shownAt < signMs) return
    shownAt = Date.now()
    const message = `Copied ${Math.floor(total / MiB)} MiB`
    touchTask(environment.db, environment, taskId, message).catch((error: unknown) => {
      environment.log.warn({ taskId, err: error }, 'the progress of a task could not be written')
    })
  })
}

async function finishImport(environment: Environment, payload: ImportPayload): Promise<void> {
  const { imageId, taskId, targets } = payload
  await environment.db.transaction().execute(async (transaction) => {
    const row = await requireRow(transaction, imageId, { lock: true })
    if (!(await holdsImportLock(transaction, imageId, taskId))) {
      throw new Conflict(`Another task has taken over image ${imageId}.`)
    }
    if (row.status === 'importing') {
      await transaction
        .updateTable('images')
        .set({ status: 'active', updated_at: environment.now().toISOString() })
        .where('id', '=', imageId)
        .where('status', '=', 'importing')
        .execute()
    }
    await editStoreLists(transaction, imageId, { done: targets })
    await removeProperty(transaction, imageId, lockProperty)
    await finishTask(transaction, environment, taskId, { status: 'success', result: { image_id: imageId } })
  })
}
