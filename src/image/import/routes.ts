import type { ApiScope } from '../api.ts'
import { bodyOf } from '../data/request-body.ts'
import { announcedSize, cutWhenRefused, headerOf, requireOctets } from '../data/routes.ts'
import { stageImage } from '../data/stage.ts'
import { objectOf } from '../images/routes.ts'
import { acceptImport } from './accept.ts'
import { parseImport } from './request.ts'

type WithImage = { Params: { image_id: string } }

/** Interoperable import. @see image-api specification 4 */
export function importRoutes({ app, environment, requestOf }: ApiScope): void {
  app.put<WithImage>('/images/:image_id/stage', { config: { imageData: true } }, async (request, reply) => {
    const caller = requestOf(request)
    cutWhenRefused(request, reply)
    requireOctets(request)
    await stageImage(environment, caller, {
      imageId: request.params.image_id,
      data: bodyOf(request.raw, environment.settings.stallSeconds * 1000),
      expectedBytes: announcedSize(request),
    })
    return reply.code(204).send()
  })

  app.post<WithImage>('/images/:image_id/import', async (request, reply) => {
    const wanted = parseImport(objectOf(request.body), environment)
    const store = headerOf(request, 'x-image-meta-store')
    await acceptImport(environment, requestOf(request), request.params.image_id, wanted, store)
    return reply.code(202).send()
  })
}
