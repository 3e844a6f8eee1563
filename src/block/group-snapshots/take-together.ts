import { BackendError, messageOf, StorageError, Unsupported } from '../../kernel/errors.ts'
import { defineJob, type JobDefinition } from '../../kernel/jobs/job-queue.ts'
import type { Block } from '../context.ts'
import { actions, details, writeMessage } from '../messages/queries.ts'
import { type SnapshotRow, transitionSnapshot } from '../snapshots/queries.ts'
import type { BackendSnapshot, Created } from '../volume-driver.ts'
import { backendSnapshot } from '../volumes/backend-facts.ts'
import { findVolume } from '../volumes/queries.ts'
import { membersOfGroupSnapshot, movePart } from './queries.ts'

/** What a group type says whose snapshots have to be of one moment. @see specification 5.13 */
export function mustBeConsistent(groupSpecs: Readonly<Record<string, string>>): boolean {
  return /^<is>\s+true$/i.test(groupSpecs['consistent_group_snapshot_enabled'] ?? '')
}

/** Takes the snapshots of all members of a group at one moment, by a backend that can. */
export function takeTogetherJob(block: Block): JobDefinition<{ readonly groupSnapshotId: string }> {
  return defineJob<{ readonly groupSnapshotId: string }>({
    kind: 'group_snapshot.create',

    async run({ groupSnapshotId }, job) {
      const parts = await partsToTake(block, groupSnapshotId)
      const host = parts[0]?.host ?? null
      if (parts.length === 0) return
      const { driver } = await block.backends.ready(host, job.signal)
      const { groups, snapshots } = driver
      if (groups === undefined || snapshots === undefined) {
        throw new Unsupported('The backend takes no snapshots of several volumes at once.')
      }
      // what an interrupted run has taken of some is of another moment than the rest would be
      if (job.attempt > 1) for (const { facts } of parts) await snapshots.delete(facts, job)
      const created = await groups.snapshot(
        parts.map(({ facts }) => facts),
        job,
      )
      const lost = await settle(block, groupSnapshotId, parts, created)
      for (const facts of lost) await snapshots.delete(facts, job)
      job.log.info({ groupSnapshotId, snapshots: parts.length }, 'group snapshot taken at one moment')
    },

    async fail({ groupSnapshotId }, error, job) {
      await movePart(block, groupSnapshotId, async (transaction) => {
        for (const { id } of await membersOfGroupSnapshot(transaction, groupSnapshotId)) {
          const set = { status: 'error', updated_at: block.now().toISOString() }
          const failed = await transitionSnapshot(transaction, id, ['creating'], set)
          if (failed === undefined) continue
          await writeMessage(block, transaction, {
            projectId: failed.project_id,
            requestId: job.requestId,
            resourceType: 'VOLUME_SNAPSHOT',
            resourceId: id,
            action: actions.createSnapshot,
            detail: details.snapshotCreateFailed,
            sentence: error instanceof StorageError ? messageOf(error) : undefined,
          })
        }
      })
    },
  })
}

/** A member's snapshot that is to be taken. */
interface Part {
  readonly row: SnapshotRow
  readonly host: string | null
  readonly facts: BackendSnapshot
}

async function partsToTake(block: Block, groupSnapshotId: string): Promise<readonly Part[]> {
  const parts: Part[] = []
  for (const row of await membersOfGroupSnapshot(block.db, groupSnapshotId)) {
    if (row.status !== 'creating') continue
    const volume = await findVolume(block.db, row.volume_id)
    if (volume === undefined) continue
    parts.push({
      row,
      host: volume.host,
      facts: await backendSnapshot(block.db, block.settings, row, volume),
    })
  }
  return parts
}

/**
 * Records what was taken, of all members in one transaction.
 * @returns what nobody knows of any more: somebody has deleted it meanwhile
 */
async function settle(
  block: Block,
  groupSnapshotId: string,
  parts: readonly Part[],
  created: readonly Created[],
): Promise<readonly BackendSnapshot[]> {
  return await movePart(block, groupSnapshotId, async (transaction) => {
    const known = new Set((await membersOfGroupSnapshot(transaction, groupSnapshotId)).map(({ id }) => id))
    const lost: BackendSnapshot[] = []
    for (const [i, { row, facts }] of parts.entries()) {
      const taken = created[i]
      if (taken === undefined)
        throw new BackendError('A snapshot of the group is missing.', { left: 'partial' })
      await transitionSnapshot(transaction, row.id, ['creating'], {
        status: 'available',
        progress: '100%',
        provider_location: taken.providerLocation ?? null,
        updated_at: block.now().toISOString(),
      })
      if (!known.has(row.id)) lost.push({ ...facts, providerLocation: taken.providerLocation })
    }
    return lost
  })
}
