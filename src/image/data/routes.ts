import type { FastifyReply, FastifyRequest } from 'fastify'
import { Invalid } from '../../kernel/errors.ts'
import type { ApiScope } from '../api.ts'
import { HttpFault } from '../faults.ts'
import { downloadImage } from './download.ts'
import { parseRange } from './range.ts'
import { bodyOf } from './request-body.ts'
import { sendBytes } from './response-body.ts'
import { uploadImage } from './upload.ts'

type WithImage = { Params: { image_id: string } }

/** How long a client that was refused may go on sending before its connection is cut, in milliseconds. */
const lingerMs = 10_000

export function dataRoutes({ app, environment, requestOf }: ApiScope): void {
  app.put<WithImage>('/images/:image_id/file', { config: { imageData: true } }, async (request, reply) => {
    const caller = requestOf(request)
    cutWhenRefused(request, reply)
    requireOctets(request)
    await uploadImage(environment, caller, {
      imageId: request.params.image_id,
      data: bodyOf(request.raw, environment.settings.stallSeconds * 1000),
      expectedBytes: announcedSize(request),
      storeId: headerOf(request, 'x-image-meta-store'),
    })
    return reply.code(204).send()
  })

  app.get<WithImage & { Querystring: { prefer?: string } }>(
    '/images/:image_id/file',
    async (request, reply) => {
      const caller = requestOf(request)
      const prefer = (request.query.prefer ?? '').split(',').filter((id) => id !== '')
      const download = await downloadImage(environment, caller, request.params.image_id, prefer)
      if (download.empty) return reply.code(204).send()
      const { sizeBytes, image } = download
      const range = parseRange(request.headers, sizeBytes)
      const bytes = await download.open(range)
      const headers: Record<string, string | number> = { 'content-type': 'application/octet-stream' }
      if (image.checksum !== null) headers['content-md5'] = image.checksum
      headers['content-length'] = range === undefined ? sizeBytes : range.end - range.start
      if (range !== undefined) headers['content-range'] = `bytes ${range.start}-${range.end - 1}/${sizeBytes}`
      reply.hijack() // the chunks are the store's: each is sent before the next one is pulled
      reply.raw.writeHead(range === undefined ? 200 : 206, {
        'x-openstack-request-id': request.id,
        ...headers,
      })
      await sendBytes(reply.raw, bytes, caller, environment.settings.stallSeconds * 1000)
      environment.notifications.emit('image.send', {
        bytes_sent: headers['content-length'],
        image_id: image.id,
        owner_id: image.owner,
        receiver_tenant_id: caller.identity.projectId ?? null,
        receiver_user_id: caller.identity.userId,
        destination_ip: request.ip,
      })
    },
  )
}

/** @throws HttpFault 415 */
export function requireOctets(request: FastifyRequest): void {
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/octet-stream') {
    throw new HttpFault(415, 'Image data must be sent with the content type application/octet-stream.')
  }
}

/** Bytes that the client says it will send; `x-openstack-image-size` wins. @throws Invalid */
export function announcedSize(request: FastifyRequest): number | undefined {
  const text = headerOf(request, 'x-openstack-image-size') ?? request.headers['content-length']
  if (text === undefined) return undefined
  const size = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(size)) {
    throw new Invalid(`The size of the image must be a whole number, not '${text}'.`)
  }
  return size
}

export function headerOf(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : value?.at(-1)
}

/** After an answer that came before the data had ended, the rest is thrown away, but not for ever. */
export function cutWhenRefused(request: FastifyRequest, reply: FastifyReply): void {
  reply.raw.once('finish', () => {
    if (request.raw.complete) return
    request.raw.resume()
    const timer = setTimeout(() => request.raw.destroy(), lingerMs)
    timer.unref()
    request.raw.once('close', () => clearTimeout(timer))
  })
}
