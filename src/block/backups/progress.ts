import { messageOf } from '../../kernel/errors.ts'
import type { Job } from '../../kernel/jobs/job-queue.ts'
import type { BackupCall } from '../backup-driver.ts'
import type { Block } from '../context.ts'
import { notifyBackup } from '../notifications/backups.ts'
import { type BackupRow, updateBackup } from './queries.ts'
import { hasTimer } from './settings.ts'

/** What is being done with a backup, or was last. Times are ISO-8601. */
export interface Activity {
  readonly operation: 'backup' | 'restore' | 'verify'
  readonly doneBytes: number
  readonly totalBytes: number
  readonly startedAt: string
  readonly updatedAt: string
  /** Absent while it runs. */
  readonly finishedAt?: string
  /** Why it failed. */
  readonly error?: string
}

const writeIntervalMs = 1_000
const events = { backup: 'createprogress', restore: 'restoreprogress', verify: 'verifyprogress' } as const

/** Percent of what is to be done, a whole number. */
export function percentOf({ doneBytes, totalBytes }: Pick<Activity, 'doneBytes' | 'totalBytes'>): number {
  return totalBytes === 0 ? 100 : Math.min(100, Math.floor((doneBytes / totalBytes) * 100))
}

/** Follows one operation: to the database for those who ask, to the log, and to notifications. */
export class Progress implements AsyncDisposable {
  readonly call: BackupCall
  readonly #block: Block
  readonly #backup: BackupRow
  readonly #log: Job['log']
  readonly #timers: NodeJS.Timeout[] = []
  #activity: Activity
  #objects = 0
  #writing: Promise<unknown> = Promise.resolve()

  constructor(
    block: Block,
    backup: BackupRow,
    operation: Activity['operation'],
    totalBytes: number,
    job: Pick<Job, 'signal' | 'log'>,
  ) {
    this.#block = block
    this.#backup = backup
    this.#log = job.log
    const now = block.now().toISOString()
    this.#activity = { operation, doneBytes: 0, totalBytes, startedAt: now, updatedAt: now }
    const { settings } = block.backups
    this.call = {
      signal: job.signal,
      log: job.log,
      onProgress: (doneBytes) => {
        this.#activity = { ...this.#activity, doneBytes: Math.min(doneBytes, totalBytes) }
      },
      onObject: () => {
        this.#objects += 1
        if (this.#objects % settings.objectsPerNotification === 0) this.#notify()
      },
    }
    this.#every(writeIntervalMs, () => this.#write())
    if (hasTimer(settings, backup.handler ?? '')) {
      this.#every(settings.notificationIntervalSeconds * 1000, () => this.#notify())
    }
    this.#write()
  }

  /** The last word, as JSON: for the statement that ends the operation. */
  finished(error?: unknown): string {
    this.#stop()
    const now = this.#block.now().toISOString()
    const { totalBytes } = this.#activity
    this.#activity =
      error === undefined
        ? { ...this.#activity, doneBytes: totalBytes, updatedAt: now, finishedAt: now }
        : { ...this.#activity, updatedAt: now, finishedAt: now, error: messageOf(error) }
    if (error === undefined) this.#notify()
    return JSON.stringify(this.#activity)
  }

  /** Waits until nothing of it is written any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop()
    await this.#writing
  }

  #every(milliseconds: number, work: () => void): void {
    this.#timers.push(setInterval(work, milliseconds).unref())
  }

  #stop(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  #write(): void {
    const activity = JSON.stringify({ ...this.#activity, updatedAt: this.#block.now().toISOString() })
    this.#writing = this.#writing
      .then(() => updateBackup(this.#block.db, this.#backup.id, { activity }))
      .catch(() => {}) // it is written again in a second
  }

  #notify(): void {
    const percent = percentOf(this.#activity)
    const { operation, doneBytes, totalBytes } = this.#activity
    this.#log.info(
      { backupId: this.#backup.id, operation, percent, doneBytes, totalBytes },
      'backup progress',
    )
    notifyBackup(this.#block, events[operation], this.#backup, { backup_percent: percent })
  }
}
