import type { ApiScope } from '../api.ts'
import { findVisible } from '../images/access.ts'
import { sendJson } from '../images/routes.ts'
import { listTasks, taskView } from './tasks.ts'

export function taskRoutes({ app, environment, requestOf }: ApiScope): void {
  app.get<{ Params: { image_id: string } }>('/images/:image_id/tasks', async (request, reply) => {
    const { image_id } = request.params
    await findVisible(environment, requestOf(request), image_id)
    const tasks = await listTasks(environment.db, image_id, environment.now())
    return sendJson(reply, 200, { tasks: tasks.map(taskView) })
  })
}
