import type { Db } from '../../kernel/db/database.ts'
import { Forbidden, Invalid, NotFound } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { last, type Query } from '../images/filters.ts'
import { parseLimit } from '../images/paging.ts'
import { findTask, type Task, taskStatuses, taskTypes } from './queries.ts'

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** An image's tasks in the order of their creation, without those that have expired. */
export async function listImageTasks(
  db: Db<ImageTables>,
  imageId: string,
  now: Date,
): Promise<readonly Task[]> {
  await db.deleteFrom('image_tasks').where('expires_at', '<=', now.toISOString()).execute()
  return await db
    .selectFrom('image_tasks')
    .selectAll()
    .where('image_id', '=', imageId)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
}

/** @throws Forbidden: the tasks API is for administrators, unless a policy says otherwise */
export function requireTaskAccess(
  environment: Environment,
  request: ImageRequest,
  rule: 'get_task' | 'get_tasks' | 'add_task',
): void {
  const { policy } = environment
  const { identity } = request
  const target = { project_id: identity.projectId }
  if (policy.allows('tasks_api_access', identity, target) && policy.allows(rule, identity, target)) return
  throw new Forbidden('You are not authorized to complete this action.')
}

/**
 * A page of tasks, newest first: all for an administrator, else those of the caller's project.
 * @throws Forbidden, Invalid
 * @see image-api specification 10.3
 */
export async function listTasks(
  environment: Environment,
  request: ImageRequest,
  query: Query,
): Promise<{ tasks: readonly Task[]; next: string | undefined }> {
  requireTaskAccess(environment, request, 'get_tasks')
  const { db, settings } = environment
  const limit = parseLimit(query, settings)
  const type = wordIn('type', last(query['type']), taskTypes)
  const status = wordIn('status', last(query['status']), taskStatuses)
  const direction = wordIn('sort_dir', last(query['sort_dir']), ['asc', 'desc'] as const) ?? 'desc'
  const key =
    wordIn('sort_key', last(query['sort_key']), [
      'id',
      'type',
      'status',
      'expires_at',
      'created_at',
      'updated_at',
    ] as const) ?? 'created_at'
  await db.deleteFrom('image_tasks').where('expires_at', '<=', environment.now().toISOString()).execute()
  let rows = db.selectFrom('image_tasks').selectAll().orderBy(key, direction).orderBy('id', direction)
  if (type !== undefined) rows = rows.where('type', '=', type)
  if (status !== undefined) rows = rows.where('status', '=', status)
  const owner = last(query['owner'])
  if (owner !== undefined) rows = rows.where('owner', '=', owner)
  if (!request.isAdmin) rows = rows.where('owner', '=', request.identity.projectId ?? '')
  const marker = last(query['marker'])
  if (marker !== undefined && !uuidPattern.test(marker)) throw new Invalid('Invalid marker format')
  const all = await rows.execute() // expired ones are gone: the list is short
  let start = 0
  if (marker !== undefined) {
    const index = all.findIndex(({ id }) => id === marker)
    if (index < 0) throw new Invalid(`Invalid marker: there is no task ${marker}.`)
    start = index + 1
  }
  const tasks = all.slice(start, start + limit)
  return { tasks, next: limit > 0 && tasks.length === limit ? tasks.at(-1)?.id : undefined }
}

/** @throws Forbidden; NotFound for one that is not there, has expired, or belongs to somebody else */
export async function showTask(environment: Environment, request: ImageRequest, id: string): Promise<Task> {
  requireTaskAccess(environment, request, 'get_task')
  const task = await findTask(environment.db, id, environment.now())
  if (task === undefined || (!request.isAdmin && task.owner !== request.identity.projectId)) {
    throw new NotFound(`No task found with ID ${id}`)
  }
  return task
}

function wordIn<const Word extends string>(
  name: string,
  text: string | undefined,
  words: readonly Word[],
): Word | undefined {
  if (text === undefined) return undefined
  const found = words.find((word) => word === text)
  if (found === undefined) throw new Invalid(`Invalid ${name} value: ${text}`)
  return found
}
