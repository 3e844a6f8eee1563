/** The tasks of a session: which there are, and how they end without an answer (SAM-5 section 5.7). */
import type { Task } from './task.ts'

export class TaskSet {
  readonly #tasks = new Map<number, Task>()
  /** Aborted tasks that are still at a device. */
  readonly #leaving = new Set<Promise<void>>()
  readonly #discard: (task: Task) => void
  /** Immediate commands among the tasks, and task management functions under way. */
  immediate = 0

  /** @param discard gives back what a task holds; called once nothing of it is at a device */
  constructor(discard: (task: Task) => void) {
    this.#discard = discard
  }

  get size(): number {
    return this.#tasks.size
  }

  get(tag: number): Task | undefined {
    return this.#tasks.get(tag)
  }

  has(tag: number): boolean {
    return this.#tasks.has(tag)
  }

  add(task: Task): void {
    this.#tasks.set(task.initiatorTaskTag, task)
    if (task.immediate) this.immediate += 1
  }

  remove(task: Task): void {
    if (this.#tasks.delete(task.initiatorTaskTag) && task.immediate) this.immediate -= 1
  }

  /** Tags of the tasks on a LUN (of all when left out), oldest first. */
  tags(lun?: number): number[] {
    return [...this.#tasks.values()]
      .filter((task) => lun === undefined || task.lun === lun)
      .map((task) => task.initiatorTaskTag)
  }

  /** Ends a task without an answer; resolves when nothing of it is at the device. */
  async abort(tag: number): Promise<void> {
    const task = this.#tasks.get(tag)
    if (!task) return
    task.abort()
    this.remove(task)
    const idle = task.idle()
    if (!idle) {
      this.#discard(task)
      return
    }
    this.#leaving.add(idle)
    await idle
    this.#leaving.delete(idle)
  }

  /** Aborts everything; resolves when nothing, also of earlier aborts, is at a device. */
  async abortAll(): Promise<void> {
    const aborted = this.tags().map((tag) => this.abort(tag))
    await Promise.all([...aborted, ...this.#leaving])
  }
}
