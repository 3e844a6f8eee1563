import type { Block } from '../context.ts'

/**
 * The line in which a job on a backup waits: as many jobs that move bytes run at once as there are workers, and
 * those that wait take nobody else's place.
 */
export function workerOf(block: Pick<Block, 'backups'>, backupId: string): string {
  const worker = Number.parseInt(backupId.slice(0, 8), 16) % block.backups.settings.workers
  return `backup-worker:${worker}`
}

/** A job that was running when its process was stopped. It is not begun again: its source is another by now. */
export class Interrupted extends Error {
  constructor() {
    super('The backup service was stopped while it worked on the backup.')
  }
}
