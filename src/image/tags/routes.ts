import type { ApiScope } from '../api.ts'
import { addTag, removeTag } from './change.ts'

type WithTag = { Params: { image_id: string; tag: string } }

export function tagRoutes({ app, environment, requestOf }: ApiScope): void {
  app.put<WithTag>('/images/:image_id/tags/:tag', async (request, reply) => {
    await addTag(environment, requestOf(request), request.params.image_id, request.params.tag)
    return reply.code(204).send()
  })

  app.delete<WithTag>('/images/:image_id/tags/:tag', async (request, reply) => {
    await removeTag(environment, requestOf(request), request.params.image_id, request.params.tag)
    return reply.code(204).send()
  })
}
