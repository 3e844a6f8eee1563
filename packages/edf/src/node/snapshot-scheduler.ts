import { createHash } from 'node:crypto'
import type { NodeContext } from './context.ts'
import type { AppInstanceRow, AppSnapshotRow, SnapshotPolicyRow, SnapshotRow } from './database/rows.ts'
import { messageOf } from './errors.ts'
import { type Located, locateById } from './resources/locate.ts'
import { deleteAppSnapshot, deleteSnapshots, takeAppSnapshot, takeSnapshot } from './resources/snapshots.ts'
import { nextRun } from './snapshot-schedule.ts'

/** How often the schedule is looked at, milliseconds. */
const lookMs = 1000
/** Policies that are carried out before the schedule is looked at again. */
const maximumDue = 100

/** Takes snapshots as the policies say, and removes those that are too many. */
export class SnapshotScheduler {
  readonly #node: NodeContext
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined
  #stopped = false

  constructor(node: NodeContext, onFailure: (error: unknown) => void) {
    this.#node = node
    this.#timer = setInterval(() => {
      this.#running ??= this.runDue()
        .catch(onFailure)
        .finally(() => {
          this.#running = undefined
        })
    }, lookMs)
    this.#timer.unref()
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#running
  }

  /**
   * Carries out what is due. A time that passed while the node did not run is made up for once. Repeats safely: the
   * snapshot of a time has an uuid that follows from policy and time.
   */
  async runDue(now = Date.now()): Promise<void> {
    const due = this.#node.database.all<SnapshotPolicyRow>(
      'SELECT * FROM snapshot_policy WHERE next_run <= ? ORDER BY next_run LIMIT ?',
      now,
      maximumDue,
    )
    for (const policy of due) {
      if (this.#stopped) return
      // 0: written by a version of the node that knew no schedule.
      if (policy.next_run > 0) await this.#carryOut(policy)
      this.#node.database.run(
        'UPDATE snapshot_policy SET next_run = ? WHERE seq = ? AND next_run = ?',
        nextRun(Date.parse(policy.start_time), policy.interval, now),
        policy.seq,
        policy.next_run,
      )
    }
  }

  /** What fails is told as an event, and tried again at the policy's next time only. */
  async #carryOut(policy: SnapshotPolicyRow): Promise<void> {
    const node = this.#node
    const owner = locateById(node, policy.owner)
    if (owner === undefined) return
    try {
      await node.locks.run(owner.ai.id, async () => {
        // It may have gone while the lock was waited for.
        const located = locateById(node, policy.owner)
        if (located === undefined) return
        await take(node, located, policy)
        await expire(node, located, policy)
      })
      this.#tell(policy, owner.ai, 'SNAPSHOT_POLICY_CARRIED_OUT', 'info', 'took a snapshot')
    } catch (error) {
      this.#tell(policy, owner.ai, 'SNAPSHOT_POLICY_FAILED', 'warning', `failed: ${messageOf(error)}`)
    }
  }

  #tell(
    policy: SnapshotPolicyRow,
    ai: AppInstanceRow,
    code: string,
    severity: 'info' | 'warning',
    what: string,
  ): void {
    this.#node.events.note({
      kind: 'system',
      code,
      severity,
      description: `snapshot policy ${policy.name} ${what}`,
      tenant: ai.tenant,
      objectPath: `${policy.owner}/snapshot_policies/${policy.name}`,
    })
  }
}

async function take(node: NodeContext, { ai, volume }: Located, policy: SnapshotPolicyRow): Promise<void> {
  const uuid = uuidFor(`${policy.id} ${policy.next_run}`)
  const table = volume === undefined ? 'app_snapshot' : 'snapshot'
  const taken = node.database.get(`SELECT 1 FROM ${table} WHERE policy = ? AND uuid = ?`, policy.id, uuid)
  if (taken !== undefined) return
  if (volume === undefined) await takeAppSnapshot(node, ai, uuid, policy.id)
  else await takeSnapshot(node, volume, uuid, policy.id)
}

/** Only snapshots that the policy took itself count. */
async function expire(node: NodeContext, { volume }: Located, policy: SnapshotPolicyRow): Promise<void> {
  const { database } = node
  const surplus = `policy = ? AND state = 'ready' ORDER BY seq DESC LIMIT -1 OFFSET ?`
  if (volume === undefined) {
    const rows = database.all<AppSnapshotRow>(
      `SELECT * FROM app_snapshot WHERE ${surplus}`,
      policy.id,
      policy.retention_count,
    )
    for (const row of rows) await deleteAppSnapshot(node, row)
  } else {
    const rows = database.all<SnapshotRow>(
      `SELECT * FROM snapshot WHERE ${surplus}`,
      policy.id,
      policy.retention_count,
    )
    await deleteSnapshots(node, rows)
  }
}

/** A UUID of version 8 (RFC 9562, section 5.8) that always follows from the same text. */
function uuidFor(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
