import type { ApiScope } from '../api.ts'
import { detailed, findAllowed } from '../images/access.ts'
import { objectOf, sendJson } from '../images/routes.ts'
import { acceptLocation } from './add.ts'
import { deleteFromStore } from './delete-from-store.ts'

type WithImage = { Params: { image_id: string } }

export function locationRoutes({ app, environment, requestOf }: ApiScope): void {
  app.post<WithImage>('/images/:image_id/locations', async (request, reply) => {
    await acceptLocation(environment, requestOf(request), request.params.image_id, objectOf(request.body))
    return reply.code(202).send()
  })

  app.get<WithImage>('/images/:image_id/locations', async (request, reply) => {
    const { image_id } = request.params
    const { row } = await findAllowed(environment, requestOf(request), image_id, 'fetch_image_location')
    const { locations } = await detailed(environment.db, row)
    const sorted = environment.stores.byWeight(locations)
    return sendJson(
      reply,
      200,
      sorted.map(({ url, metadata }) => ({ url, metadata })),
    )
  })

  app.delete<{ Params: { store_id: string; image_id: string } }>(
    '/stores/:store_id/:image_id',
    async (request, reply) => {
      const { store_id, image_id } = request.params
      await deleteFromStore(environment, requestOf(request), store_id, image_id)
      return reply.code(204).send()
    },
  )
}
