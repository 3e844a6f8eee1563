import type { FastifyReply, FastifyRequest } from 'fastify'
import { Conflict, Forbidden, Invalid, NotFound } from '../../kernel/errors.ts'
import type { ApiScope } from '../api.ts'
import { headerOf } from '../data/routes.ts'
import { findRow } from '../images/queries.ts'
import { sendJson } from '../images/routes.ts'
import type { PolicyRule } from '../policy.ts'
import { fetchQueued } from './fetch.ts'
import type { CacheEntry, ImageCache } from './image-cache.ts'

type WithImage = { Params: { image_id: string } }

/** Seconds since 1970, with a fraction. */
function epoch(iso: string): number {
  return Date.parse(iso) / 1000
}

function entryView(entry: CacheEntry): object {
  return {
    image_id: entry.image_id,
    hits: entry.hits,
    last_accessed: epoch(entry.last_accessed),
    last_modified: epoch(entry.last_modified),
    size: entry.size,
  }
}

/** The cache of this node. @see image-api specification 10.4 */
export function cacheRoutes(scope: ApiScope): void {
  const { app, environment } = scope
  /** @throws Forbidden first, then NotFound when there is no cache */
  const allowed = (request: FastifyRequest, rule: PolicyRule): ImageCache => {
    if (!environment.policy.allows(rule, scope.requestOf(request).identity)) {
      throw new Forbidden('You are not authorized to complete this action.')
    }
    if (environment.cache === undefined) throw new NotFound('Caching via API is not supported at this site.')
    return environment.cache
  }

  app.get('/cache', async (request, reply) => {
    const cache = allowed(request, 'cache_list')
    return sendJson(reply, 200, {
      cached_images: (await cache.entries('cached')).map(entryView),
      queued_images: (await cache.entries('queued')).map((entry) => entry.image_id),
    })
  })

  app.delete('/cache', async (request, reply) => {
    const cache = allowed(request, 'cache_delete')
    const target = headerOf(request, 'x-image-cache-clear-target')?.toLowerCase() ?? ''
    if (!['', 'cache', 'queue'].includes(target)) {
      throw new Invalid(`If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.`)
    }
    if (target !== 'cache') await cache.clear('queued')
    if (target !== 'queue') await cache.clear('cached')
    return reply.code(204).send()
  })

  app.put<WithImage>('/cache/:image_id', async (request, reply) => {
    const cache = allowed(request, 'cache_image')
    const image = await findRow(environment.db, request.params.image_id)
    if (image === undefined) throw new NotFound(`Image not found: ${request.params.image_id}`)
    if (image.status !== 'active')
      throw new Invalid('Only images with status active can be targeted for queueing')
    await cache.queue(image.id)
    await fetchQueued(environment, cache, image.id)
    return reply.code(202).send()
  })

  app.delete<WithImage>('/cache/:image_id', async (request, reply) => {
    const cache = allowed(request, 'cache_delete')
    const { image_id } = request.params
    const wasThere = await cache.remove(image_id)
    if (!wasThere && (await findRow(environment.db, image_id)) === undefined) {
      throw new NotFound(`Image not found: ${image_id}`)
    }
    return reply.code(204).send()
  })

  app.get<WithImage>('/cache/nodes/:image_id', async (request, reply) => {
    const cache = allowed(request, 'list_cached_nodes')
    const image = await findRow(environment.db, request.params.image_id)
    if (image === undefined) throw new NotFound(`Image not found: ${request.params.image_id}`)
    if (environment.settings.selfReferenceUrl === undefined) {
      throw new Conflict(
        'The nodes of a cache are known only with worker_self_reference_url and centralized_db.',
      )
    }
    return sendJson(reply, 200, await cache.nodesWith(image.id))
  })

  app.post('/cache/clean', async (request, reply) => {
    await allowed(request, 'cache_clean').clean()
    return reply.code(200).send()
  })

  app.post('/cache/prune', async (request, reply) => {
    const { files, bytes } = await allowed(request, 'cache_prune').prune()
    return sendJson(reply, 200, { total_files_pruned: files, total_bytes_pruned: bytes })
  })

  if (environment.cacheSettings.olderApi) {
    olderRoutes(scope, (request) => allowed(request, 'manage_image_cache'))
  }
}

/** The API that the cache had before; it deletes without saying whether there was anything. */
function olderRoutes({ app, environment }: ApiScope, allowed: (request: FastifyRequest) => ImageCache): void {
  app.get('/cached_images', async (request, reply) =>
    sendJson(reply, 200, {
      cached_images: (await allowed(request).entries('cached')).map(entryView),
    }),
  )
  app.get('/queued_images', async (request, reply) =>
    sendJson(reply, 200, {
      queued_images: (await allowed(request).entries('queued')).map((entry) => entry.image_id),
    }),
  )
  app.delete('/cached_images', async (request, reply) =>
    sendJson(reply, 200, { num_deleted: await allowed(request).clear('cached') }),
  )
  app.delete('/queued_images', async (request, reply) =>
    sendJson(reply, 200, { num_deleted: await allowed(request).clear('queued') }),
  )
  const removeOne = async (request: FastifyRequest<WithImage>, reply: FastifyReply) => {
    await allowed(request).remove(request.params.image_id)
    return reply.code(200).send()
  }
  app.delete<WithImage>('/cached_images/:image_id', removeOne)
  app.delete<WithImage>('/queued_images/:image_id', removeOne)
  app.put<WithImage>('/queued_images/:image_id', async (request, reply) => {
    const cache = allowed(request)
    await cache.queue(request.params.image_id)
    await fetchQueued(environment, cache, request.params.image_id)
    return reply.code(200).send()
  })
}
