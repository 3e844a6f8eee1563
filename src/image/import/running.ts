import type { Requester } from '../image-store.ts'

/** What stops an import whose image has been deleted. */
export class ImageDeleted extends Error {
  constructor(imageId: string) {
    super(`Image ${imageId} has been deleted.`)
    this.name = 'ImageDeleted'
  }
}

/** An import that runs in this process. */
export interface RunningImport extends Disposable {
  /** Aborted when the service stops, or the image is deleted. */
  readonly signal: AbortSignal
}

/**
 * The imports of this process: deleting an image stops what fills it. Also what a request leaves for its import
 * in memory only, because it must not be written down: the requester's token.
 */
export class RunningImports {
  readonly #running = new Map<string, AbortController>()
  readonly #requesters = new Map<string, Requester>()

  begin(imageId: string, stopping: AbortSignal): RunningImport {
    const controller = new AbortController()
    this.#running.set(imageId, controller)
    return {
      signal: AbortSignal.any([stopping, controller.signal]),
      [Symbol.dispose]: () => {
        if (this.#running.get(imageId) === controller) this.#running.delete(imageId)
      },
    }
  }

  imageDeleted(imageId: string): void {
    this.#running.get(imageId)?.abort(new ImageDeleted(imageId))
  }

  keepRequester(taskId: string, requester: Requester | undefined): void {
    if (requester !== undefined) this.#requesters.set(taskId, requester)
  }

  /** Who asked for a task's work; undefined after a restart. */
  requesterOf(taskId: string): Requester | undefined {
    return this.#requesters.get(taskId)
  }

  /** The task has come to its end. */
  forget(taskId: string): void {
    this.#requesters.delete(taskId)
  }
}
