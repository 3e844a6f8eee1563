/**
 * How a command that is not wanted any more ends at the target, so that its data cannot move later: ABORT TASK; when
 * that is not confirmed LOGICAL UNIT RESET, which takes every command of the unit along; when that is not confirmed
 * either, the end of the connection. RFC 7143 section 11.5.
 */
import { IscsiError } from '../errors.ts'
import { TaskFunction } from '../pdu/task-management-request.ts'
import { TaskResponse } from '../pdu/task-management-response.ts'
import type { Task } from './task.ts'

/** How long the target may take for either. */
const answerTimeoutMs = 5_000

export interface TaskManagement {
  readonly function: number
  readonly lun: number
  /** For ABORT TASK. */
  readonly task?: Task
  readonly timeoutMs: number
}

/** What the ending of tasks needs of its session. */
export interface EndingHost {
  /** @returns the target's response; undefined when none came in time, or it rejected the request */
  manage(request: TaskManagement): Promise<number | undefined>
  tasksOn(lun: number): readonly Task[]
  /** The target has forgotten the task: it rejects with this. */
  ended(task: Task, reason: unknown): void
  /** A reset has ended these, which nobody wanted to end. */
  resetTook(tasks: readonly Task[]): void
  /** Gives the connection up. */
  drop(error: Error): void
}

export class TaskEnding {
  readonly #host: EndingHost
  /** Units that are being reset. */
  readonly #resetting = new Set<number>()

  constructor(host: EndingHost) {
    this.#host = host
  }

  /** @param reason what the task rejects with when it is over, at the latest when the connection was given up */
  async end(task: Task, reason: unknown): Promise<void> {
    if (task.abortReason !== undefined) return
    task.abortReason = { error: reason }
    const timeoutMs = Math.min(answerTimeoutMs, task.command.timeoutMs)
    const { lun } = task.command
    const response = await this.#host.manage({ function: TaskFunction.abortTask, lun, task, timeoutMs })
    if (response === TaskResponse.complete || response === TaskResponse.taskDoesNotExist) {
      this.#host.ended(task, reason)
      return
    }
    if (this.#host.tasksOn(lun).includes(task)) await this.#reset(lun, timeoutMs, task.command.what)
  }

  async #reset(lun: number, timeoutMs: number, what: string): Promise<void> {
    if (this.#resetting.has(lun)) return
    this.#resetting.add(lun)
    try {
      const before = this.#host.tasksOn(lun)
      const response = await this.#host.manage({ function: TaskFunction.logicalUnitReset, lun, timeoutMs })
      if (response !== TaskResponse.complete) {
        this.#host.drop(new IscsiError('timeout', `the target could not be made to end ${what}`))
        return
      }
      const left = this.#host.tasksOn(lun).filter((task) => before.includes(task))
      for (const task of left) if (task.abortReason) this.#host.ended(task, task.abortReason.error)
      this.#host.resetTook(left.filter((task) => task.abortReason === undefined))
    } finally {
      this.#resetting.delete(lun)
    }
  }
}
