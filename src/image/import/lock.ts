import type { Db } from '../../kernel/db/database.ts'
import { Conflict } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment } from '../environment.ts'
import { findTask, finishTask, type Task } from '../tasks/queries.ts'
import { importingProperty, lockProperty, readProperty, writeProperty } from './bookkeeping.ts'

/** A task that says nothing for so long is dead, in milliseconds. @see image-api specification 4.5 */
const processingPatienceMs = 60 * 60_000
const pendingPatienceMs = 120 * 60_000

/**
 * Takes the lock of an image's imports for a task, from a task that is dead if need be. Call it in the
 * transaction that stores the task.
 * @throws Conflict while another task works on the image
 */
export async function acquireImportLock(
  db: Db<ImageTables>,
  environment: Environment,
  imageId: string,
  taskId: string,
): Promise<void> {
  const holder = await readProperty(db, imageId, lockProperty)
  if (holder !== undefined) {
    const task = await findTask(db, holder, environment.now())
    if (task !== undefined && isRunning(task)) {
      if (!isDead(task, environment.now())) {
        throw new Conflict(`Image ${imageId} has active task ${holder}.`)
      }
      await finishTask(db, environment, holder, {
        status: 'failure',
        message: `Expired lock preempted by task ${taskId}`,
      })
    }
    await writeProperty(db, imageId, importingProperty, '')
  }
  await writeProperty(db, imageId, lockProperty, taskId)
}

export function isRunning(task: Task): boolean {
  return task.status === 'pending' || task.status === 'processing'
}

function isDead(task: Task, now: Date): boolean {
  const patienceMs = task.status === 'pending' ? pendingPatienceMs : processingPatienceMs
  return now.getTime() - Date.parse(task.updated_at) > patienceMs
}

/** Is the lock still this task's? */
export async function holdsImportLock(
  db: Db<ImageTables>,
  imageId: string,
  taskId: string,
): Promise<boolean> {
  return (await readProperty(db, imageId, lockProperty)) === taskId
}
