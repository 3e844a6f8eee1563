import { Conflict, messageOf, StorageError } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { movePart } from '../group-snapshots/queries.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { backendSnapshot } from '../volumes/backend-facts.ts'
import { findVolume } from '../volumes/queries.ts'
import {
  deleteSnapshotRow,
  findSnapshot,
  lockSnapshot,
  transitionSnapshot,
  updateSnapshot,
} from './queries.ts'

/**
 * Marks a snapshot as deleting and records the job. Volumes that were made from it do not matter.
 * @param force the status does not matter; only for admins
 * @throws NotFound, Forbidden, InvalidState
 */
export async function deleteSnapshot(
  block: Block,
  request: BlockRequest,
  id: string,
  force = false,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const snapshot = await lockSnapshot(transaction, request, id)
    const rule = force ? 'volume_extension:snapshot_admin_actions:force_delete' : 'volume:delete_snapshot'
    authorize(request.identity, rule, snapshot.project_id)
    if (!force && snapshot.status !== 'available' && snapshot.status !== 'error') {
      throw new InvalidState(
        `Invalid snapshot: Snapshot status must be available or error, but current status is: ${snapshot.status}.`,
      )
    }
    if (snapshot.group_snapshot_id !== null) {
      throw new InvalidState(
        `Invalid snapshot: Snapshot ${id} is part of group snapshot ${snapshot.group_snapshot_id} and goes with it.`,
      )
    }
    await updateSnapshot(transaction, id, { status: 'deleting', updated_at: block.now().toISOString() })
    await enqueue(block, transaction, 'snapshot.delete', {
      resource: `volume:${snapshot.volume_id}`,
      payload: { snapshotId: id },
      requestId: request.requestId,
    })
  })
}

/** Removes a snapshot: from the backend, then from the database. */
export function deleteSnapshotJob(block: Block): JobDefinition<{ readonly snapshotId: string }> {
  return defineJob<{ readonly snapshotId: string }>({
    kind: 'snapshot.delete',

    async run({ snapshotId }, job) {
      const snapshot = await findSnapshot(block.db, snapshotId)
      if (snapshot?.status !== 'deleting') return
      const volume = await findVolume(block.db, snapshot.volume_id)
      if (volume !== undefined && volume.host !== null) {
        const { driver } = await block.backends.ready(volume.host, job.signal)
        await driver.snapshots?.delete(await backendSnapshot(block.db, block.settings, snapshot, volume), job)
      }
      await movePart(block, snapshot.group_snapshot_id, (transaction) =>
        deleteSnapshotRow(transaction, snapshotId),
      )
      job.log.info({ snapshotId }, 'snapshot deleted')
    },

    async fail({ snapshotId }, error, job) {
      const busy = error instanceof Conflict
      const snapshot = await findSnapshot(block.db, snapshotId)
      await movePart(block, snapshot?.group_snapshot_id ?? null, async (transaction) => {
        const failed = await transitionSnapshot(transaction, snapshotId, ['deleting'], {
          status: busy ? 'available' : 'error_deleting',
          updated_at: block.now().toISOString(),
        })
        if (failed === undefined) return
        await writeMessage(block, transaction, {
          projectId: failed.project_id,
          requestId: job.requestId,
          resourceType: 'VOLUME_SNAPSHOT',
          resourceId: snapshotId,
          action: actions.deleteSnapshot,
          detail: busy ? details.snapshotBusy : details.snapshotDeleteFailed,
          sentence: error instanceof StorageError ? messageOf(error) : undefined,
        })
      })
    },
  })
}
