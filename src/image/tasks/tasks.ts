import type { Selectable } from 'kysely'
import type { Db } from '../../kernel/db/database.ts'
import type { ImageTables, ImageTasksTable } from '../db/tables.ts'

export type Task = Selectable<ImageTasksTable>

/** An image's tasks in the order of their creation, without those that have expired. */
export async function listTasks(db: Db<ImageTables>, imageId: string, now: Date): Promise<readonly Task[]> {
  return await db
    .selectFrom('image_tasks')
    .selectAll()
    .where('image_id', '=', imageId)
    .where((tasks) =>
      tasks.or([tasks('expires_at', 'is', null), tasks('expires_at', '>', now.toISOString())]),
    )
    .orderBy('created_at')
    .orderBy('id')
    .execute()
}

/** Microseconds and no zone, unlike everywhere else in this API. */
function taskTime(iso: string): string {
  return `${iso.slice(0, 23).padEnd(23, '0')}000`
}

export function taskView(task: Task): Record<string, unknown> {
  return {
    id: task.id,
    type: task.type,
    status: task.status,
    owner: task.owner,
    expires_at: task.expires_at === null ? null : taskTime(task.expires_at),
    created_at: taskTime(task.created_at),
    updated_at: taskTime(task.updated_at),
    deleted_at: null,
    deleted: false,
    image_id: task.image_id,
    request_id: task.request_id,
    user_id: task.user_id,
    input: JSON.parse(task.input),
    result: task.result === null ? null : JSON.parse(task.result),
    message: task.message,
  }
}
