import type { FastifyReply, FastifyRequest } from 'fastify'
import { Invalid } from '../../kernel/errors.ts'
import type { ApiScope } from '../api.ts'
import type { ImageRequest } from '../environment.ts'
import { HttpFault } from '../faults.ts'
import { detailed, findVisible } from './access.ts'
import { setActivation } from './activation.ts'
import { createImage } from './create.ts'
import { deleteImage } from './delete.ts'
import type { Query } from './filters.ts'
import { parsePatch, patchMediaTypes } from './json-patch.ts'
import { listImages } from './list.ts'
import { imageNotice } from './notice.ts'
import { pagePath } from './paging.ts'
import type { Image } from './queries.ts'
import { updateImage } from './update.ts'
import { imageView } from './view.ts'

type WithImage = { Params: { image_id: string } }

export function imageRoutes({ app, environment, requestOf }: ApiScope): void {
  const { settings, stores, protections } = environment
  const viewOptions = (request: ImageRequest) => ({
    stores,
    showLocations: settings.showLocations,
    showDirectUrl: settings.showDirectUrl,
    isAdmin: request.isAdmin,
    readable: (properties: Image['properties']) => protections.readable(properties, request.identity),
  })
  const tell = (event: string, image: Image) =>
    environment.notifications.emit(`image.${event}`, imageNotice(image))

  app.get<{ Querystring: Query }>('/images', async (request, reply) => {
    const caller = requestOf(request)
    const { images, next } = await listImages(environment, caller, request.query)
    const options = viewOptions(caller)
    return sendJson(reply, 200, {
      images: images.map((image) => imageView(image, options)),
      ...(next === undefined ? {} : { next: pagePath('/v2/images', request.query, next) }),
      schema: '/v2/schemas/images',
      first: pagePath('/v2/images', request.query, undefined),
    })
  })

  app.post('/images', async (request, reply) => {
    const caller = requestOf(request)
    const image = await createImage(environment, caller, objectOf(request.body))
    tell('create', image)
    reply.header('location', `/v2/images/${image.id}`)
    if (environment.importMethods.length > 0) {
      reply.header('openstack-image-import-methods', environment.importMethods.join(','))
    }
    if (stores.multiStore) {
      reply.header('openstack-image-store-ids', stores.stores.map((store) => store.id).join(','))
    }
    return sendJson(reply, 201, imageView(image, viewOptions(caller)))
  })

  app.get<WithImage>('/images/:image_id', async (request, reply) => {
    const caller = requestOf(request)
    const { row } = await findVisible(environment, caller, request.params.image_id)
    return sendJson(reply, 200, imageView(await detailed(environment.db, row), viewOptions(caller)))
  })

  app.patch<WithImage>('/images/:image_id', async (request, reply) => {
    const caller = requestOf(request)
    const dialect = dialectOf(request)
    const operations = parsePatch(request.body, dialect)
    const image = await updateImage(environment, caller, request.params.image_id, operations, dialect)
    tell('update', image)
    return sendJson(reply, 200, imageView(image, viewOptions(caller)))
  })

  app.delete<WithImage>('/images/:image_id', async (request, reply) => {
    tell('delete', await deleteImage(environment, requestOf(request), request.params.image_id))
    return reply.code(204).send()
  })

  app.post<WithImage>('/images/:image_id/actions/deactivate', async (request, reply) => {
    refuseBody(request)
    await setActivation(environment, requestOf(request), request.params.image_id, 'deactivated')
    return reply.code(204).send()
  })

  app.post<WithImage>('/images/:image_id/actions/reactivate', async (request, reply) => {
    refuseBody(request)
    await setActivation(environment, requestOf(request), request.params.image_id, 'active')
    return reply.code(204).send()
  })
}

/** @throws HttpFault 415 that names both media types */
function dialectOf(request: FastifyRequest): 'v2.1' | 'v2.0' {
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const found = Object.entries(patchMediaTypes).find(([name]) => name === type)
  if (found !== undefined) return found[1]
  const accepted = Object.keys(patchMediaTypes).join(', ')
  throw new HttpFault(415, `The content type of a patch must be one of ${accepted}.`, {
    'accept-patch': accepted,
  })
}

/** @throws Invalid unless the body is a JSON object */
export function objectOf(body: unknown): Readonly<Record<string, unknown>> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Invalid('The request needs a JSON object as its body.')
  }
  return Object.fromEntries(Object.entries(body))
}

function refuseBody(request: FastifyRequest): void {
  if (request.body !== undefined && request.body !== null) throw new Invalid('This request takes no body.')
}

export function sendJson(reply: FastifyReply, status: number, value: unknown): FastifyReply {
  return reply.code(status).type('application/json').send(JSON.stringify(value))
}
