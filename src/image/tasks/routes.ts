import type { ApiScope } from '../api.ts'
import { HttpFault } from '../faults.ts'
import { findVisible } from '../images/access.ts'
import type { Query } from '../images/filters.ts'
import { pagePath } from '../images/paging.ts'
import { objectOf, sendJson } from '../images/routes.ts'
import { createImportTask } from '../import/legacy-task.ts'
import { listImageTasks, listTasks, showTask } from './list.ts'
import { imageTaskView, shortTaskView, taskView } from './view.ts'

export function taskRoutes({ app, environment, requestOf }: ApiScope): void {
  app.get<{ Params: { image_id: string } }>('/images/:image_id/tasks', async (request, reply) => {
    const { image_id } = request.params
    await findVisible(environment, requestOf(request), image_id)
    const tasks = await listImageTasks(environment.db, image_id, environment.now())
    return sendJson(reply, 200, { tasks: tasks.map(imageTaskView) })
  })

  app.get<{ Querystring: Query }>('/tasks', async (request, reply) => {
    const { tasks, next } = await listTasks(environment, requestOf(request), request.query)
    return sendJson(reply, 200, {
      tasks: tasks.map(shortTaskView),
      ...(next === undefined ? {} : { next: pagePath('/v2/tasks', request.query, next) }),
      schema: '/v2/schemas/tasks',
      first: pagePath('/v2/tasks', request.query, undefined),
    })
  })

  app.post('/tasks', async (request, reply) => {
    const task = await createImportTask(environment, requestOf(request), objectOf(request.body))
    reply.header('location', `/v2/tasks/${task.id}`)
    return sendJson(reply, 201, taskView(task))
  })

  app.get<{ Params: { task_id: string } }>('/tasks/:task_id', async (request, reply) => {
    const task = await showTask(environment, requestOf(request), request.params.task_id)
    return sendJson(reply, 200, taskView(task))
  })

  app.delete<{ Params: { task_id: string } }>('/tasks/:task_id', () => {
    throw new HttpFault(405, 'A task cannot be deleted: its record goes away some time after it has ended.', {
      allow: 'GET',
    })
  })
}
