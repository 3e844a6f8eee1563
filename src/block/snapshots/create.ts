import { randomUUID } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { Invalid, messageOf, NotFound, StorageError, Unsupported } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { movePart } from '../group-snapshots/queries.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import { refuseFrozen } from '../services/frozen.ts'
import {
  booleanOf,
  closed,
  LaxBoolean,
  Name,
  SnapshotMetadata,
  UuidOrNull,
  validator,
} from '../validation.ts'
import { backendSnapshot } from '../volumes/backend-facts.ts'
import { findVolume, lockVolume } from '../volumes/queries.ts'
import { findSnapshot, insertSnapshot, type SnapshotRow, transitionSnapshot } from './queries.ts'

const fields = {
  volume_id: UuidOrNull,
  name: Type.Optional(Name),
  display_name: Type.Optional(Name),
  description: Type.Optional(Name),
  display_description: Type.Optional(Name),
  force: Type.Optional(Type.Union([LaxBoolean, Type.Null()], { description: 'is not a boolean' })),
  metadata: Type.Optional(Type.Union([SnapshotMetadata, Type.Null()])),
}

export const createSnapshotBody = validator(closed({ snapshot: closed(fields) }))
type CreateSnapshot = Static<ReturnType<typeof Type.Object<typeof fields>>>

/**
 * Checks a request for a snapshot and records it with its job, in one transaction.
 * @throws NotFound, Forbidden, Invalid, InvalidState, OverQuota @see specification 4.1, 5.10
 */
export async function createSnapshot(
  block: Block,
  request: BlockRequest,
  body: CreateSnapshot,
): Promise<SnapshotRow> {
  const force = forceOf(request, body.force)
  const { volume_id: volumeId } = body
  if (volumeId === null) throw new NotFound('Volume None could not be found.')
  const snapshot = await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, volumeId)
    authorize(request.identity, 'volume:create_snapshot', volume.project_id)
    await refuseFrozen(transaction, volume.host)
    if (volume.host === null || volume.migration_status === 'migrating') {
      throw new InvalidState(`Invalid volume: Volume ${volumeId} is not on a backend, or is being migrated.`)
    }
    const allowed = force ? ['available', 'in-use'] : ['available']
    if (!allowed.includes(volume.status)) {
      throw new InvalidState(
        `Invalid volume: Volume ${volumeId} status must be ${allowed.join(' or ')}, but current status is: ${volume.status}.`,
      )
    }
    const type =
      volume.volume_type_id === null
        ? undefined
        : await transaction
            .selectFrom('volume_types')
            .select('name')
            .where('id', '=', volume.volume_type_id)
            .executeTakeFirst()
    await claimQuota(transaction, block.settings, volume.project_id, {
      snapshots: 1,
      gigabytes: block.settings.noSnapshotGbQuota ? 0 : volume.size_gib,
      typeName: type?.name ?? null,
    })
    const row = await insertSnapshot(transaction, {
      id: randomUUID(),
      project_id: volume.project_id,
      user_id: request.identity.userId,
      volume_id: volumeId,
      group_snapshot_id: null,
      volume_type_id: volume.volume_type_id,
      name: (body.name ?? body.display_name)?.trim() ?? null,
      description: (body.description ?? body.display_description)?.trim() ?? null,
      size_gib: volume.size_gib,
      status: 'creating',
      progress: '0%',
      encryption_key_id: volume.encryption_key_id,
      consumes_quota: 1,
      provider_location: null,
      metadata: JSON.stringify(body.metadata ?? {}),
      created_at: block.now().toISOString(),
      updated_at: null,
    })
    await enqueue(block, transaction, 'snapshot.create', {
      resource: `volume:${volumeId}`,
      payload: { snapshotId: row.id },
      requestId: request.requestId,
    })
    return row
  })
  request.log.info({ snapshotId: snapshot.id, volumeId }, 'snapshot requested')
  return snapshot
}

/** May the volume be in use? From 3.66 always: the flag is gone, and only `true` is still borne. */
function forceOf(request: BlockRequest, value: CreateSnapshot['force']): boolean {
  const force = value !== undefined && value !== null && booleanOf(value)
  if (request.minor < 66) return force
  if (value !== undefined && value !== null && !force) {
    throw new Invalid(
      "Invalid input received: 'force' is no longer supported from microversion 3.66 on: it must not be false.",
    )
  }
  return true
}

/** Takes a snapshot on the backend. */
export function createSnapshotJob(block: Block): JobDefinition<{ readonly snapshotId: string }> {
  return defineJob<{ readonly snapshotId: string }>({
    kind: 'snapshot.create',

    async run({ snapshotId }, job) {
      const snapshot = await findSnapshot(block.db, snapshotId)
      if (snapshot?.status !== 'creating') return
      const volume = await findVolume(block.db, snapshot.volume_id)
      if (volume === undefined) throw new NotFound(`Volume ${snapshot.volume_id} could not be found.`)
      const { driver } = await block.backends.ready(volume.host, job.signal)
      if (driver.snapshots === undefined) throw new Unsupported('The backend has no snapshots.')
      const facts = await backendSnapshot(block.db, block.settings, snapshot, volume)
      const created = await driver.snapshots.create(facts, job)
      const done = await movePart(block, snapshot.group_snapshot_id, (transaction) =>
        transitionSnapshot(transaction, snapshotId, ['creating'], {
          status: 'available',
          progress: '100%',
          provider_location: created.providerLocation ?? null,
          updated_at: block.now().toISOString(),
        }),
      )
      // somebody reset or deleted it meanwhile; a deletion that is under way removes it itself
      if (done === undefined && (await findSnapshot(block.db, snapshotId)) === undefined) {
        const location = created.providerLocation
        await driver.snapshots.delete({ ...facts, providerLocation: location }, job)
        return
      }
      job.log.info({ snapshotId, volumeId: volume.id }, 'snapshot created')
    },

    async fail({ snapshotId }, error, job) {
      const snapshot = await findSnapshot(block.db, snapshotId)
      await movePart(block, snapshot?.group_snapshot_id ?? null, async (transaction) => {
        const failed = await transitionSnapshot(transaction, snapshotId, ['creating'], {
          status: 'error',
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME_SNAPSHOT',
          resourceId: snapshotId,
          action: actions.createSnapshot,
          detail: details.snapshotCreateFailed,
          sentence: error instanceof StorageError ? messageOf(error) : undefined,
        })
      })
    },
  })
}
