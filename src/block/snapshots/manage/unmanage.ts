import { messageOf } from '../../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../../kernel/jobs/job-queue.ts'
import { type Block, enqueue } from '../../context.ts'
import { InvalidState } from '../../errors.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { backendSnapshot } from '../../volumes/backend-facts.ts'
import { findVolume } from '../../volumes/queries.ts'
import {
  deleteSnapshotRow,
  findSnapshot,
  lockSnapshot,
  transitionSnapshot,
  updateSnapshot,
} from '../queries.ts'

/** `os-unmanage`: forgets a snapshot; its bytes stay. @throws NotFound, Forbidden, InvalidState */
export async function unmanageSnapshot(block: Block, request: BlockRequest, id: string): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const snapshot = await lockSnapshot(transaction, request, id)
    authorize(request.identity, 'snapshot_extension:snapshot_unmanage', snapshot.project_id)
    if (snapshot.status !== 'available' && snapshot.status !== 'error') {
      throw new InvalidState(
        `Invalid snapshot: Snapshot status must be available or error, but current status is: ${snapshot.status}.`,
      )
    }
    if (snapshot.group_snapshot_id !== null) {
      throw new InvalidState(`Invalid snapshot: Snapshot ${id} is part of a group snapshot.`)
    }
    await updateSnapshot(transaction, id, { status: 'unmanaging', updated_at: block.now().toISOString() })
    await enqueue(block, transaction, 'snapshot.unmanage', {
      resource: `volume:${snapshot.volume_id}`,
      payload: { snapshotId: id },
      requestId: request.requestId,
    })
  })
}

/** Tells the backend, and removes the row. */
export function unmanageSnapshotJob(block: Block): JobDefinition<{ readonly snapshotId: string }> {
  return defineJob<{ readonly snapshotId: string }>({
    kind: 'snapshot.unmanage',

    async run({ snapshotId }, job) {
      const snapshot = await findSnapshot(block.db, snapshotId)
      if (snapshot?.status !== 'unmanaging') return
      const volume = await findVolume(block.db, snapshot.volume_id)
      if (volume?.host) {
        const { driver } = await block.backends.ready(volume.host, job.signal)
        const facts = await backendSnapshot(block.db, block.settings, snapshot, volume)
        await driver.manageSnapshots?.unmanage(facts, job)
      }
      await deleteSnapshotRow(block.db, snapshotId)
      job.log.info({ snapshotId }, 'snapshot unmanaged')
    },

    async fail({ snapshotId }, error, job) {
      job.log.error({ snapshotId, error: messageOf(error) }, 'snapshot could not be unmanaged')
      await transitionSnapshot(block.db, snapshotId, ['unmanaging'], {
        status: 'error',
        updated_at: block.now().toISOString(),
      })
    },
  })
}
