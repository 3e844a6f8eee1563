import { wireTime } from '../images/view.ts'
import type { Task } from './queries.ts'

/** Microseconds and no zone, unlike everywhere else in this API. */
function rawTime(iso: string): string {
  return `${iso.slice(0, 23).padEnd(23, '0')}000`
}

/** A task as the list of an image's tasks has it: a row of the table, more or less. */
export function imageTaskView(task: Task): Record<string, unknown> {
  return {
    id: task.id,
    type: task.type,
    status: task.status,
    owner: task.owner,
    expires_at: task.expires_at === null ? null : rawTime(task.expires_at),
    created_at: rawTime(task.created_at),
    updated_at: rawTime(task.updated_at),
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

/** A task in a list of the tasks API: without what it was given and what came of it. */
export function shortTaskView(task: Task): Record<string, unknown> {
  return {
    id: task.id,
    type: task.type,
    status: task.status,
    owner: task.owner,
    ...(task.expires_at === null ? {} : { expires_at: wireTime(task.expires_at) }),
    created_at: wireTime(task.created_at),
    updated_at: wireTime(task.updated_at),
    self: `/v2/tasks/${task.id}`,
    schema: '/v2/schemas/task',
  }
}

/** A task of the tasks API. */
export function taskView(task: Task): Record<string, unknown> {
  return {
    ...shortTaskView(task),
    input: JSON.parse(task.input),
    result: task.result === null ? null : JSON.parse(task.result),
    message: task.message,
    ...(task.image_id === null ? {} : { image_id: task.image_id }),
    request_id: task.request_id,
    user_id: task.user_id,
  }
}
