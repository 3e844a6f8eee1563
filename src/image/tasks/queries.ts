import { randomUUID } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import type { Json } from '../../kernel/jobs/job-queue.ts'
import type { ImageTables, ImageTasksTable } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'

export type Task = Selectable<ImageTasksTable>

export const taskTypes = ['import', 'api_image_import', 'location_import'] as const
export const taskStatuses = ['pending', 'processing', 'success', 'failure'] as const
export type TaskType = (typeof taskTypes)[number]
export type TaskStatus = (typeof taskStatuses)[number]

/** @param task.input what the caller asked for, without secrets: callers are shown it */
export async function insertTask(
  db: Db<ImageTables>,
  environment: Pick<Environment, 'now'>,
  request: ImageRequest,
  task: { type: TaskType; imageId: string | null; input: Json },
): Promise<Task> {
  const now = environment.now().toISOString()
  const row: Task = {
    id: randomUUID(),
    type: task.type,
    status: 'pending',
    owner: request.identity.projectId ?? null,
    image_id: task.imageId,
    request_id: request.requestId,
    user_id: request.identity.userId,
    input: JSON.stringify(task.input),
    result: null,
    message: '',
    expires_at: null,
    created_at: now,
    updated_at: now,
  }
  await db.insertInto('image_tasks').values(row).execute()
  return row
}

/** A task that has not expired. */
export async function findTask(db: Db<ImageTables>, id: string, now: Date): Promise<Task | undefined> {
  const task = await db.selectFrom('image_tasks').selectAll().where('id', '=', id).executeTakeFirst()
  return task === undefined || isExpired(task, now) ? undefined : task
}

export function isExpired(task: Pick<Task, 'expires_at'>, now: Date): boolean {
  return task.expires_at !== null && task.expires_at <= now.toISOString()
}

/** The work has begun, or goes on: callers see by the time that it is alive. */
export async function touchTask(
  db: Db<ImageTables>,
  environment: Pick<Environment, 'now'>,
  taskId: string,
  message?: string,
): Promise<void> {
  await db
    .updateTable('image_tasks')
    .set({
      status: 'processing',
      updated_at: environment.now().toISOString(),
      ...(message === undefined ? {} : { message }),
    })
    .where('id', '=', taskId)
    .where('status', 'in', ['pending', 'processing'])
    .execute()
}

/** Ends a task; one that has ended stays as it is. */
export async function finishTask(
  db: Db<ImageTables>,
  environment: Pick<Environment, 'now' | 'settings'>,
  taskId: string,
  outcome: { status: 'success'; result: Json } | { status: 'failure'; message: string },
): Promise<void> {
  const now = environment.now()
  const expires = new Date(now.getTime() + environment.settings.taskHours * 3_600_000)
  await db
    .updateTable('image_tasks')
    .set({
      status: outcome.status,
      updated_at: now.toISOString(),
      expires_at: expires.toISOString(),
      ...(outcome.status === 'success'
        ? { result: JSON.stringify(outcome.result), message: '' }
        : { message: outcome.message }),
    })
    .where('id', '=', taskId)
    .where('status', 'in', ['pending', 'processing'])
    .execute()
}
