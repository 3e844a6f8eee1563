import { randomUUID } from 'node:crypto'
import type { Bytes } from '../../kernel/bytes.ts'
import { Conflict, Invalid, messageOf } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import { CheckedData, type DataFacts } from '../data/checked-data.ts'
import { fanOut } from '../data/fan-out.ts'
import { removeQuietly, requireSame } from '../data/upload.ts'
import type { Environment } from '../environment.ts'
import type { PutCall, StoreCall, StoredImage } from '../image-store.ts'
import { detailed } from '../images/access.ts'
import { type ImageRow, insertLocation, nextPosition, requireRow } from '../images/queries.ts'
import { grantAccessIn } from '../images/store-access.ts'
import { SignatureVerifier, signatureOf } from '../signatures/verifier.ts'
import type { ConfiguredStore } from '../store-registry.ts'
import { editStoreLists } from './bookkeeping.ts'
import type { ImportPayload } from './job.ts'
import { holdsImportLock } from './lock.ts'

/** The source of an import's data, which can be read from its beginning as often as there are passes. */
export interface ImportSource {
  read(): Bytes
  /** Bytes, where they are known. */
  readonly sizeBytes: number | undefined
}

/** What one store made of the data. */
interface Outcome {
  readonly target: ConfiguredStore
  readonly stored: StoredImage | undefined
  readonly error: unknown
}

/**
 * Writes the data to every target that does not have it yet: as many at once as the configuration says, in one
 * pass over the data. Each success is recorded at once.
 * @throws the first failure when all must succeed, or when none has
 * @see image-api specification 4.4, 4.6
 */
export async function storeData(
  environment: Environment,
  payload: ImportPayload,
  source: ImportSource,
  job: Job,
  call: StoreCall,
): Promise<void> {
  const targets = await remainingTargets(environment, payload)
  const isCopy = payload.method.name === 'copy-image'
  const together = isCopy ? 1 : environment.imports.maxParallelStores
  let failure: unknown
  for (let index = 0; index < targets.length; index += together) {
    const group = targets.slice(index, index + together)
    if (job.attempt > 1) {
      for (const target of group) await discardLeftovers(environment, target, payload.imageId, call)
    }
    const outcomes = await storeInGroup(environment, payload, source, group, call)
    const failed = outcomes.filter(({ stored }) => stored === undefined)
    failure ??= failed[0]?.error
    if (failed.length > 0 && payload.mustSucceed) throw failure
  }
  if (failure === undefined) return
  const image = await requireRow(environment.db, payload.imageId)
  if (!isCopy && image.status !== 'active') throw failure // not one has succeeded
  if (isCopy && (await remainingTargets(environment, payload)).length === payload.targets.length)
    throw failure
}

async function remainingTargets(
  environment: Environment,
  payload: ImportPayload,
): Promise<readonly ConfiguredStore[]> {
  const rows = await environment.db
    .selectFrom('image_locations')
    .select('metadata')
    .where('image_id', '=', payload.imageId)
    .where('status', '=', 'active')
    .execute()
  const { stores } = environment
  const holding = new Set(
    rows.map(({ metadata }) => {
      const { store } = JSON.parse(metadata) as { store?: string } // written by this service
      return store ?? stores.default.id
    }),
  )
  return payload.targets.flatMap((id) => {
    const target = stores.byId(id)
    if (target === undefined) throw new Invalid(`Store ${id} is not configured any more.`)
    return holding.has(id) ? [] : [target]
  })
}

/** A run that died may have stored data, and not recorded it. */
async function discardLeftovers(
  environment: Environment,
  target: ConfiguredStore,
  imageId: string,
  call: StoreCall,
): Promise<void> {
  const store = await environment.stores.ready(target, call.signal)
  await store.sweep?.(async (id) => id.toLowerCase() !== imageId, call)
}

async function storeInGroup(
  environment: Environment,
  payload: ImportPayload,
  source: ImportSource,
  group: readonly ConfiguredStore[],
  call: StoreCall,
): Promise<readonly Outcome[]> {
  const { settings } = environment
  const { imageId } = payload
  const row = await requireRow(environment.db, imageId)
  const isCopy = payload.method.name === 'copy-image'
  using checked = new CheckedData(
    source.read(),
    {
      diskFormat: row.disk_format ?? '',
      // what is active already was inspected when it came
      containerFormat: isCopy ? '' : (row.container_format ?? ''),
      hashingAlgorithm: row.os_hash_algo ?? settings.hashingAlgorithm,
      expectedBytes: source.sizeBytes,
      maxBytes: settings.imageSizeCapBytes,
      requireFormatMatch: settings.requireMatch,
      nonfatalGptChecks: settings.nonfatalGptChecks,
      verifier: await verifierOf(environment, payload, row),
      log: call.log,
    },
    environment.digests,
  )
  const cancel = new AbortController()
  const groupCall: PutCall = {
    ...call,
    signal: AbortSignal.any([call.signal, cancel.signal]),
    diskFormat: row.disk_format ?? undefined,
    checksum: async () => (await checked.facts()).checksum,
  }
  const branches = fanOut(checked.bytes(), group.length)
  const outcomes = await Promise.all(
    group.map(async (target, index): Promise<Outcome> => {
      const branch = branches[index]
      if (branch === undefined) throw new Error('there are as many branches as stores')
      try {
        const store = await environment.stores.ready(target, groupCall.signal)
        const stored = await store.put(imageId, branch.bytes, source.sizeBytes, groupCall)
        return { target, stored, error: undefined }
      } catch (error) {
        call.log.error(
          { imageId, store: target.id, error: messageOf(error) },
          'a store did not take an image',
        )
        if (payload.mustSucceed) cancel.abort(error)
        return { target, stored: undefined, error }
      } finally {
        await branch.leave()
      }
    }),
  )
  return await record(environment, payload, outcomes, checked, call)
}

/** @returns undefined for an unsigned image. @throws Invalid when the signature cannot be verified */
async function verifierOf(
  environment: Environment,
  { certificate }: ImportPayload,
  row: ImageRow,
): Promise<SignatureVerifier | undefined> {
  if (certificate === undefined) return undefined
  const facts = signatureOf((await detailed(environment.db, row)).properties)
  return facts === undefined ? undefined : new SignatureVerifier(facts, Buffer.from(certificate, 'base64'))
}

/** Writes down what became of each store; data of stores whose success cannot count is removed again. */
async function record(
  environment: Environment,
  payload: ImportPayload,
  outcomes: readonly Outcome[],
  checked: CheckedData,
  call: StoreCall,
): Promise<readonly Outcome[]> {
  const kept = outcomes.filter(({ stored }) => stored !== undefined)
  const isLost = payload.mustSucceed && kept.length < outcomes.length
  let failure: unknown
  if (kept.length > 0 && !isLost) {
    try {
      call.signal.throwIfAborted()
      const facts = await checked.facts()
      for (const { target, stored } of kept) {
        if (stored === undefined) continue
        requireSame(stored, facts, target)
        await grantAccessIn(environment, target, payload.imageId, stored.location, call)
      }
      await recordSuccess(environment, payload, kept, facts)
    } catch (error) {
      failure = error
    }
  }
  if (isLost || failure !== undefined) {
    for (const { target, stored } of kept) {
      if (stored !== undefined) await removeQuietly(environment, target, stored.location, payload.imageId)
    }
  }
  const failed = failure === undefined ? outcomes.filter(({ stored }) => stored === undefined) : outcomes
  if (failed.length > 0 && environment.stores.multiStore && !call.signal.aborted) {
    await environment.db.transaction().execute(async (transaction) => {
      if (!(await holdsImportLock(transaction, payload.imageId, payload.taskId))) return
      await editStoreLists(transaction, payload.imageId, { failed: failed.map(({ target }) => target.id) })
    })
  }
  if (failure !== undefined) throw failure
  return outcomes
}

/** @throws Conflict when the data is not what other stores hold, the lock is lost, or the image is gone */
async function recordSuccess(
  environment: Environment,
  payload: ImportPayload,
  kept: readonly Outcome[],
  facts: DataFacts,
): Promise<void> {
  const { imageId, taskId } = payload
  const { multiStore } = environment.stores
  await environment.db.transaction().execute(async (transaction) => {
    const row = await requireRow(transaction, imageId, { lock: true })
    if (!(await holdsImportLock(transaction, imageId, taskId))) {
      throw new Conflict(`Another task has taken over image ${imageId}.`)
    }
    refuseOtherData(row, facts)
    let position = await nextPosition(transaction, imageId)
    for (const { target, stored } of kept) {
      await insertLocation(transaction, {
        id: randomUUID(),
        imageId,
        position,
        url: stored?.location ?? '',
        metadata: multiStore ? { store: target.id } : {},
      })
      position += 1
    }
    if (multiStore) await editStoreLists(transaction, imageId, { done: kept.map(({ target }) => target.id) })
    if (row.status !== 'importing') return
    await transaction
      .updateTable('images')
      .set({
        size: facts.sizeBytes,
        virtual_size: facts.virtualSizeBytes ?? null,
        checksum: facts.checksum,
        os_hash_algo: environment.settings.hashingAlgorithm,
        os_hash_value: facts.hashValue,
        ...(payload.mustSucceed ? {} : { status: 'active' }),
        updated_at: environment.now().toISOString(),
      })
      .where('id', '=', imageId)
      .execute()
  })
}

/** The first store's digests are the image's; later ones must have the same data. */
function refuseOtherData(row: ImageRow, facts: DataFacts): void {
  const isSame =
    (row.os_hash_value === null || row.os_hash_value === facts.hashValue) &&
    (row.checksum === null || row.checksum === facts.checksum)
  if (!isSame) throw new Conflict(`The data of image ${row.id} is not what its digests say.`)
}
