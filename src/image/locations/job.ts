import { randomUUID } from 'node:crypto'
import type { Call } from '../../kernel/call.ts'
import type { Db } from '../../kernel/db/database.ts'
import { Conflict, messageOf, StorageError } from '../../kernel/errors.ts'
import { defineJob, type Job } from '../../kernel/jobs/job-queue.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment } from '../environment.ts'
import { findRow, insertLocation, requireRow } from '../images/queries.ts'
import { hashHostProperty, lockProperty, removeProperty, writeProperty } from '../import/bookkeeping.ts'
import { holdsImportLock, isRunning } from '../import/lock.ts'
import { findTask, finishTask, touchTask } from '../tasks/queries.ts'
import { checkLocation } from './check.ts'

/** What the job of an added location is told. */
export type LocationPayload = {
  taskId: string
  imageId: string
  url: string
  storeId: string
  /** What the data's hash is said to be. */
  validation?: { algorithm: string; value: string }
}

/** The kind of the job that adds a location, and reads its data. */
export const locationKind = { kind: 'image.add-location' } as const

export function locationJob(environment: Environment) {
  return defineJob<LocationPayload>({
    ...locationKind,
    maxAttempts: 20,
    run: (payload, job) => addLocation(environment, payload, job),
    fail: (payload, error, job) => failLocation(environment, payload, error, job),
  })
}

/** @see image-api specification 2.6, the table of the task's behaviour */
async function addLocation(environment: Environment, payload: LocationPayload, job: Job): Promise<void> {
  const { imageId, taskId, validation } = payload
  const { db, settings } = environment
  const task = await findTask(db, taskId, environment.now())
  if (task === undefined || !isRunning(task)) return
  using running = environment.running.begin(imageId, job.signal)
  const call: Call = { signal: running.signal, log: job.log }
  try {
    await touchTask(db, environment, taskId)
    const mustCompare = settings.secureHash && validation !== undefined
    await recordLocation(environment, payload, mustCompare ? 'importing' : 'active', call)
    if (settings.secureHash) {
      await writeHashHost(environment, imageId)
      const digests = await readHashes(environment, payload, call).catch((error: unknown) => {
        if (call.signal.aborted || validation !== undefined) throw error
        job.log.error({ imageId, error: messageOf(error) }, 'the hash of a location could not be computed')
        return undefined // the image is active already, and stays so
      })
      if (digests !== undefined) await recordHashes(environment, payload, digests)
    }
    await finishLocation(environment, payload)
  } catch (error) {
    if (job.signal.aborted) throw error
    await failLocation(environment, payload, running.signal.aborted ? running.signal.reason : error, job)
  }
}

/** Adds the location, once, whatever run this is. */
async function recordLocation(
  environment: Environment,
  payload: LocationPayload,
  status: 'importing' | 'active',
  call: Call,
): Promise<void> {
  const { imageId, url, storeId, validation } = payload
  const { settings, stores } = environment
  const { sizeBytes } = await checkLocation(environment, { url, metadata: { store: storeId } }, call)
  await environment.db.transaction().execute(async (transaction) => {
    await requireLock(transaction, payload)
    const present = await transaction
      .selectFrom('image_locations')
      .select('id')
      .where('image_id', '=', imageId)
      .where('status', '=', 'active')
      .execute()
    if (present.length === 0) {
      const metadata = stores.multiStore ? { store: storeId } : {}
      await insertLocation(transaction, { id: randomUUID(), imageId, position: 0, url, metadata })
    }
    await transaction
      .updateTable('images')
      .set({
        status,
        size: sizeBytes,
        // who sees the image active for the first time sees which hash is going to be there
        ...(validation === undefined
          ? settings.secureHash
            ? { os_hash_algo: settings.hashingAlgorithm }
            : {}
          : { os_hash_algo: validation.algorithm, os_hash_value: validation.value }),
        updated_at: environment.now().toISOString(),
      })
      .where('id', '=', imageId)
      .where('status', '=', 'importing')
      .execute()
  })
}

async function writeHashHost(environment: Environment, imageId: string): Promise<void> {
  const { selfReferenceUrl } = environment.settings
  if (selfReferenceUrl === undefined) return
  await writeProperty(environment.db, imageId, hashHostProperty, selfReferenceUrl)
}

interface Hashes {
  readonly checksum: string
  readonly value: string
}

/** Reads all of the data; tried again when the other side breaks off. @throws what the last try threw */
async function readHashes(environment: Environment, payload: LocationPayload, call: Call): Promise<Hashes> {
  const { settings, stores } = environment
  const algorithm = payload.validation?.algorithm ?? settings.hashingAlgorithm
  const configured = stores.requireOfLocation({ url: payload.url, storeId: payload.storeId })
  for (let attempt = 0; ; attempt += 1) {
    try {
      const store = await stores.ready(configured, call.signal)
      using digests = environment.digests.begin(['md5', algorithm])
      for await (const chunk of store.get(payload.url, undefined, call)) {
        const waiting = digests.push(chunk)
        if (waiting !== undefined) await waiting
      }
      const [checksum = '', value = ''] = await digests.finish()
      return { checksum, value }
    } catch (error) {
      call.signal.throwIfAborted()
      if (attempt >= settings.hashRetries) throw error
      call.log.warn(
        { imageId: payload.imageId, error: messageOf(error) },
        'hashing a location is tried again',
      )
    }
  }
}

/** @throws Conflict when the data is not what was said */
async function recordHashes(
  environment: Environment,
  payload: LocationPayload,
  { checksum, value }: Hashes,
): Promise<void> {
  const { validation, imageId } = payload
  if (validation !== undefined && validation.value !== value) {
    throw new Conflict('The data at the location does not have the hash that was given for it.')
  }
  await environment.db.transaction().execute(async (transaction) => {
    await requireLock(transaction, payload)
    await transaction
      .updateTable('images')
      .set({ checksum, os_hash_value: value, updated_at: environment.now().toISOString() })
      .where('id', '=', imageId)
      .execute()
  })
}

async function finishLocation(environment: Environment, payload: LocationPayload): Promise<void> {
  const { imageId, taskId } = payload
  await environment.db.transaction().execute(async (transaction) => {
    await requireLock(transaction, payload)
    await transaction
      .updateTable('images')
      .set({ status: 'active', updated_at: environment.now().toISOString() })
      .where('id', '=', imageId)
      .where('status', '=', 'importing')
      .execute()
    await removeProperty(transaction, imageId, hashHostProperty)
    await removeProperty(transaction, imageId, lockProperty)
    await finishTask(transaction, environment, taskId, { status: 'success', result: { image_id: imageId } })
  })
}

/** The image is queued again, without the location; the data there is not ours, and stays. */
async function failLocation(
  environment: Environment,
  payload: LocationPayload,
  error: unknown,
  job: Pick<Job, 'log'>,
): Promise<void> {
  const { imageId, taskId } = payload
  const message =
    error instanceof StorageError ? error.message : 'The location could not be added. The log says why.'
  await environment.db.transaction().execute(async (transaction) => {
    await finishTask(transaction, environment, taskId, { status: 'failure', message })
    const row = await findRow(transaction, imageId, { lock: true })
    if (row === undefined || !(await holdsImportLock(transaction, imageId, taskId))) return
    if (row.status === 'importing') {
      await transaction.deleteFrom('image_locations').where('image_id', '=', imageId).execute()
      await transaction
        .updateTable('images')
        .set({
          status: 'queued',
          size: null,
          checksum: null,
          os_hash_algo: null,
          os_hash_value: null,
          updated_at: environment.now().toISOString(),
        })
        .where('id', '=', imageId)
        .execute()
    }
    await removeProperty(transaction, imageId, hashHostProperty)
    await removeProperty(transaction, imageId, lockProperty)
  })
  job.log.error({ imageId, taskId, err: error }, 'a location could not be added')
}

/** @throws NotFound when the image is gone; Conflict when another task has taken over */
async function requireLock(transaction: Db<ImageTables>, payload: LocationPayload): Promise<void> {
  await requireRow(transaction, payload.imageId, { lock: true })
  if (await holdsImportLock(transaction, payload.imageId, payload.taskId)) return
  throw new Conflict(`Another task has taken over image ${payload.imageId}.`)
}
