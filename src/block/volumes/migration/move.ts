import { randomUUID } from 'node:crypto'
import { copyDevice } from '@emberglass/iscsi/device'
import type { Transaction } from 'kysely'
import { messageOf, Unsupported } from '../../../kernel/errors.ts'
import type { Job, Json } from '../../../kernel/jobs/job-queue.ts'
import type { Block } from '../../context.ts'
import type { Tables } from '../../db/tables.ts'
import { backendOf } from '../../scheduler/pools.ts'
import type { BackendVolume, VolumeDriver } from '../../volume-driver.ts'
import { backendIdOf, backendVolume } from '../backend-facts.ts'
import { deleteVolumeRow, findVolume, insertVolume, updateVolume, type VolumeRow } from '../queries.ts'

/** Where a volume goes, and of which type it is there. */
export interface Destination {
  /** `host@backend#pool`. */
  readonly host: string
  readonly typeId: string | null
}

/** How far a migration has come; the job keeps it. */
export interface Move {
  readonly [key: string]: Json | undefined
  /** Id of the hidden copy. */
  readonly targetId?: string
  readonly host?: string
  readonly typeId?: string | null
  /** `adopting` from when names on the backend may change; `swapped` once the volume is in its new place. */
  readonly phase?: 'copying' | 'adopting' | 'swapped'
}

/** So often a running copy says how far it is, in percent. */
const progressStep = 10

/**
 * Moves a volume's bytes to another pool: a hidden volume is made there and filled, then the two change places. The
 * volume keeps its id throughout. Where both ends are is in the database and in the job's state at every moment, so
 * that a run that follows one that died goes on, or begins the copy again.
 * @param finish what becomes of the volume's row in the moment of the change
 * @throws Unsupported while somebody uses it; what the drivers throw
 */
export async function moveVolume(
  block: Block,
  volume: VolumeRow,
  destination: Destination,
  finish: (transaction: Transaction<Tables>) => Promise<void>,
  job: Job,
): Promise<void> {
  if (volume.attach_status !== 'detached') {
    throw new Unsupported(
      `Volume ${volume.id} is attached: its bytes can only be moved by the compute service, and there is none.`,
    )
  }
  let move = moveOf(job)
  if (move.targetId === undefined) {
    move = { targetId: randomUUID(), ...destination, phase: 'copying' }
    await job.save(move)
  }
  const targetId = move.targetId ?? ''
  const source = await block.backends.ready(volume.host, job.signal)
  const there = await block.backends.ready(move.host ?? null, job.signal)
  if (move.phase === 'copying') {
    const target = await makeTarget(block, volume, { ...destination, ...move, targetId }, there.driver, job)
    await updateVolume(block.db, volume.id, { migration_status: 'migrating' })
    await copy(block, { volume, from: source.driver, target, to: there.driver }, job)
    await updateVolume(block.db, volume.id, { migration_status: 'completing' })
    move = { ...move, phase: 'adopting' }
    await job.save(move)
  }
  if (move.phase === 'adopting' && !(await haveChangedPlaces(block, targetId))) {
    await changePlaces(block, volume, targetId, there.driver, finish, job)
    move = { ...move, phase: 'swapped' }
    await job.save(move)
  }
  await removeOld(block, targetId, job)
  job.log.info({ volumeId: volume.id, from: volume.host, to: move.host }, 'volume migrated')
}

export function moveOf(job: Job): Move {
  return (job.state ?? {}) as Move // only the jobs of migrations write this state
}

/** An empty volume at the destination, hidden from everybody but admins. What an earlier run left is removed. */
async function makeTarget(
  block: Block,
  volume: VolumeRow,
  to: Destination & { readonly targetId: string },
  driver: VolumeDriver,
  job: Job,
): Promise<VolumeRow> {
  const now = block.now().toISOString()
  const service = await block.db
    .selectFrom('volume_services')
    .select('id')
    .where('host', '=', backendOf(to.host))
    .executeTakeFirst()
  const known = await findVolume(block.db, to.targetId)
  const row =
    known ??
    (await insertVolume(block.db, {
      ...volume,
      id: to.targetId,
      name_id: null,
      status: 'creating',
      previous_status: null,
      attach_status: 'detached',
      migration_status: `target:${volume.id}`,
      consumes_quota: 0,
      host: to.host,
      service_id: service?.id ?? null,
      volume_type_id: to.typeId,
      provider_location: null,
      provider_id: null,
      created_at: now,
      updated_at: null,
    }))
  const facts = await backendVolume(block.db, block.settings, row)
  if (known !== undefined) await driver.delete(facts, job)
  const { providerLocation } = await driver.create(facts, job)
  const set = { status: 'available', provider_location: providerLocation ?? null, updated_at: now }
  return (await updateVolume(block.db, to.targetId, set)) ?? row
}

async function copy(
  block: Block,
  ends: { volume: VolumeRow; from: VolumeDriver; target: VolumeRow; to: VolumeDriver },
  job: Job,
): Promise<void> {
  const { volume, target } = ends
  await using source = await ends.from.open(await backendVolume(block.db, block.settings, volume), 'r', job)
  await using sink = await ends.to.open(await backendVolume(block.db, block.settings, target), 'rw', job)
  let said = 0
  const onProgress = (doneBytes: number, totalBytes: number) => {
    const percent = Math.floor((100 * doneBytes) / totalBytes)
    if (percent < said + progressStep) return
    said = percent
    job.log.info({ volumeId: volume.id, percent }, 'volume is being migrated')
  }
  const options = { skipZeroes: true, targetIsZeroed: true, depth: 16, onProgress }
  const copied = await copyDevice(source, sink, options, job)
  job.log.info({ volumeId: volume.id, ...copied }, 'volume copied to its new place')
}

/** The copy's row is the old bytes' from the moment of the change on, and then gone. */
async function haveChangedPlaces(block: Block, targetId: string): Promise<boolean> {
  const row = await findVolume(block.db, targetId)
  return row === undefined || row.status === 'deleting' || row.status === 'error_deleting'
}

/** The volume's row gets the copy's place, and the copy's row the old one. */
async function changePlaces(
  block: Block,
  volume: VolumeRow,
  targetId: string,
  driver: VolumeDriver,
  finish: (transaction: Transaction<Tables>) => Promise<void>,
  job: Job,
): Promise<void> {
  const target = await findVolume(block.db, targetId)
  if (target === undefined) throw new Error(`the copy ${targetId} of volume ${volume.id} has no row`)
  const places = await adopt(block, volume, target, driver, job)
  const now = block.now().toISOString()
  await block.db.transaction().execute(async (transaction) => {
    await updateVolume(transaction, volume.id, {
      ...places.volume,
      host: target.host,
      service_id: target.service_id,
      volume_type_id: target.volume_type_id,
      migration_status: 'success',
      updated_at: now,
    })
    await updateVolume(transaction, targetId, {
      ...places.old,
      host: volume.host,
      service_id: volume.service_id,
      volume_type_id: volume.volume_type_id,
      status: 'deleting',
      updated_at: now,
    })
    await finish(transaction)
  })
}

type Place = Pick<VolumeRow, 'name_id' | 'provider_location'>

/** Where the bytes are from now on. A driver that can gives them the volume's own name. */
async function adopt(
  block: Block,
  volume: VolumeRow,
  target: VolumeRow,
  driver: VolumeDriver,
  job: Job,
): Promise<{ volume: Place; old: Place }> {
  const old: Place = { name_id: backendIdOf(volume), provider_location: volume.provider_location }
  if (driver.migration === undefined || volume.name_id !== null) {
    return { volume: { name_id: target.id, provider_location: target.provider_location }, old }
  }
  const facts = (row: VolumeRow): Promise<BackendVolume> => backendVolume(block.db, block.settings, row)
  const adopted = await driver.migration.adopt(await facts(volume), await facts(target), job)
  return {
    volume: { name_id: null, provider_location: adopted.volume.providerLocation ?? null },
    old:
      adopted.old === undefined
        ? old
        : { name_id: null, provider_location: adopted.old.providerLocation ?? null },
  }
}

/** Removes the old bytes. When that fails they stay, as a volume that an admin can see and delete. */
async function removeOld(block: Block, targetId: string, job: Job): Promise<void> {
  const row = await findVolume(block.db, targetId)
  if (row === undefined) return
  try {
    const { driver } = await block.backends.ready(row.host, job.signal)
    await driver.delete(await backendVolume(block.db, block.settings, row), job)
    await block.db.transaction().execute((transaction) => deleteVolumeRow(transaction, targetId))
  } catch (error) {
    if (job.signal.aborted) throw error
    job.log.error({ volumeId: targetId, error: messageOf(error) }, 'the old bytes of a volume stay')
    await updateVolume(block.db, targetId, { status: 'error_deleting', migration_status: 'deleting' })
  }
}

/**
 * Removes the copy of a migration that failed.
 * @returns false when the volume had changed its place already: there is nothing to undo
 */
export async function undoMove(block: Block, job: Job): Promise<boolean> {
  const { targetId, host, phase } = moveOf(job)
  if (targetId === undefined) return true
  const row = await findVolume(block.db, targetId)
  // the change of places may be in the database though the job's state does not say so yet
  if (phase === 'swapped' || (row !== undefined && row.status === 'deleting')) {
    await removeOld(block, targetId, job)
    return false
  }
  if (row === undefined) return true
  if (phase === 'adopting') {
    // which bytes have which name on the backend is not known: nothing is removed
    await updateVolume(block.db, targetId, { status: 'error', migration_status: 'error' })
    return true
  }
  const { driver } = await block.backends.ready(host ?? null, job.signal)
  await driver.delete(await backendVolume(block.db, block.settings, row), job)
  await block.db.transaction().execute((transaction) => deleteVolumeRow(transaction, targetId))
  return true
}
