import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { isUniqueViolation } from '../../kernel/db/violations.ts'
import { Conflict, Forbidden, Invalid } from '../../kernel/errors.ts'
import type { ApiServer } from '../../kernel/http/api-server.ts'
import { asFlag } from '../attributes.ts'
import { type IdentityContext, newId } from '../context.ts'
import type { EndpointRow, RegionRow, ServiceRow } from '../db/tables.ts'
import { couldNotFind } from '../faults.ts'
import { collection, filtered, selfLink } from '../links.ts'
import { authorize } from '../policy.ts'

const Service = Type.Object({
  type: Type.String({ minLength: 1, maxLength: 255 }),
  name: Type.Optional(Type.String({ maxLength: 255 })),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  enabled: Type.Optional(Type.Boolean()),
})
const Interface = Type.Union([Type.Literal('public'), Type.Literal('internal'), Type.Literal('admin')])
const Endpoint = Type.Object({
  service_id: Type.String(),
  interface: Interface,
  url: Type.String({ minLength: 1, maxLength: 2048, pattern: '^\\S+$' }),
  region_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  region: Type.Optional(Type.String()),
  enabled: Type.Optional(Type.Boolean()),
})
const Region = Type.Object({
  id: Type.Optional(Type.String({ maxLength: 255 })),
  description: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  parent_region_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
})
const body = {
  createService: Type.Object({ service: Service }),
  updateService: Type.Object({ service: Type.Partial(Service) }),
  createEndpoint: Type.Object({ endpoint: Endpoint }),
  updateEndpoint: Type.Object({ endpoint: Type.Partial(Endpoint) }),
  region: Type.Object({ region: Region }),
}
const Id = Type.Object({ id: Type.String() })

/** Services, endpoints and regions: what the catalog is made of. */
export function catalogRoutes(app: ApiServer, context: IdentityContext): void {
  serviceRoutes(app, context)
  endpointRoutes(app, context)
  regionRoutes(app, context)
}

function serviceRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context
  const view = (request: FastifyRequest, row: ServiceRow) => ({
    id: row.id,
    type: row.type,
    name: row.name,
    description: row.description,
    enabled: row.enabled === 1,
    ...selfLink(request, settings, `services/${row.id}`),
  })
  async function find(id: string): Promise<ServiceRow> {
    const row = await db.selectFrom('identity_services').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('service', id)
    return row
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/services',
    handler: async (request) => {
      authorize(request, 'identity:list_services', { read: true })
      const rows = await db.selectFrom('identity_services').selectAll().orderBy('type').execute()
      const views = rows.map((row) => view(request, row))
      return collection(request, settings, 'services', filtered(request, views, ['type', 'name']))
    },
  })
  app.post('/v3/services', { schema: { body: body.createService } }, async (request, reply) => {
    authorize(request, 'identity:create_service')
    const { service } = request.body
    const row: ServiceRow = {
      id: newId(),
      type: service.type,
      name: service.name ?? '',
      description: service.description ?? '',
      enabled: asFlag(service.enabled, true),
    }
    await db.insertInto('identity_services').values(row).execute()
    reply.code(201)
    return { service: view(request, row) }
  })
  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/services/:id',
    schema: { params: Id },
    handler: async (request) => {
      authorize(request, 'identity:get_service', { read: true })
      return { service: view(request, await find(request.params.id)) }
    },
  })
  app.patch('/v3/services/:id', { schema: { params: Id, body: body.updateService } }, async (request) => {
    authorize(request, 'identity:update_service')
    const before = await find(request.params.id)
    const { service } = request.body
    const row: ServiceRow = {
      ...before,
      type: service.type ?? before.type,
      name: service.name ?? before.name,
      description: service.description ?? before.description,
      enabled: asFlag(service.enabled, before.enabled === 1),
    }
    await db.updateTable('identity_services').set(row).where('id', '=', row.id).execute()
    return { service: view(request, row) }
  })
  app.delete('/v3/services/:id', { schema: { params: Id } }, async (request, reply) => {
    authorize(request, 'identity:delete_service')
    const { id } = await find(request.params.id)
    await db.transaction().execute(async (transaction) => {
      await transaction.deleteFrom('identity_endpoints').where('service_id', '=', id).execute()
      await transaction.deleteFrom('identity_services').where('id', '=', id).execute()
    })
    return reply.code(204).send()
  })
}

function endpointRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context
  const view = (request: FastifyRequest, row: EndpointRow) => ({
    id: row.id,
    interface: row.interface,
    region_id: row.region_id,
    region: row.region_id,
    service_id: row.service_id,
    url: row.url,
    enabled: row.enabled === 1,
    ...selfLink(request, settings, `endpoints/${row.id}`),
  })
  async function find(id: string): Promise<EndpointRow> {
    const row = await db.selectFrom('identity_endpoints').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('endpoint', id)
    return row
  }
  /** @throws Invalid when the service or the region does not exist */
  async function check(row: EndpointRow): Promise<void> {
    const service = await db
      .selectFrom('identity_services')
      .select('id')
      .where('id', '=', row.service_id)
      .executeTakeFirst()
    if (service === undefined) throw new Invalid(`Could not find service: ${row.service_id}.`)
    if (row.region_id === null) return
    const region = await db
      .selectFrom('identity_regions')
      .select('id')
      .where('id', '=', row.region_id)
      .executeTakeFirst()
    if (region === undefined) throw new Invalid(`Could not find region: ${row.region_id}.`)
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/endpoints',
    handler: async (request) => {
      authorize(request, 'identity:list_endpoints', { read: true })
      const rows = await db
        .selectFrom('identity_endpoints')
        .selectAll()
        .orderBy('url')
        .orderBy('id')
        .execute()
      const views = rows.map((row) => view(request, row))
      const names = ['interface', 'service_id', 'region_id'] as const
      return collection(request, settings, 'endpoints', filtered(request, views, names))
    },
  })
  app.post('/v3/endpoints', { schema: { body: body.createEndpoint } }, async (request, reply) => {
    authorize(request, 'identity:create_endpoint')
    const { endpoint } = request.body
    const row: EndpointRow = {
      id: newId(),
      service_id: endpoint.service_id,
      interface: endpoint.interface,
      url: endpoint.url,
      region_id: endpoint.region_id ?? endpoint.region ?? null,
      enabled: asFlag(endpoint.enabled, true),
    }
    await check(row)
    await db.insertInto('identity_endpoints').values(row).execute()
    reply.code(201)
    return { endpoint: view(request, row) }
  })
  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/endpoints/:id',
    schema: { params: Id },
    handler: async (request) => {
      authorize(request, 'identity:get_endpoint', { read: true })
      return { endpoint: view(request, await find(request.params.id)) }
    },
  })
  app.patch('/v3/endpoints/:id', { schema: { params: Id, body: body.updateEndpoint } }, async (request) => {
    authorize(request, 'identity:update_endpoint')
    const before = await find(request.params.id)
    const { endpoint } = request.body
    const row: EndpointRow = {
      ...before,
      service_id: endpoint.service_id ?? before.service_id,
      interface: endpoint.interface ?? before.interface,
      url: endpoint.url ?? before.url,
      region_id: endpoint.region_id ?? endpoint.region ?? before.region_id,
      enabled: asFlag(endpoint.enabled, before.enabled === 1),
    }
    await check(row)
    await db.updateTable('identity_endpoints').set(row).where('id', '=', row.id).execute()
    return { endpoint: view(request, row) }
  })
  app.delete('/v3/endpoints/:id', { schema: { params: Id } }, async (request, reply) => {
    authorize(request, 'identity:delete_endpoint')
    const { id } = await find(request.params.id)
    await db.deleteFrom('identity_endpoints').where('id', '=', id).execute()
    return reply.code(204).send()
  })
}

function regionRoutes(app: ApiServer, context: IdentityContext): void {
  const { db, settings } = context
  const view = (request: FastifyRequest, row: RegionRow) => ({
    id: row.id,
    description: row.description,
    parent_region_id: row.parent_region_id,
    ...selfLink(request, settings, `regions/${row.id}`),
  })
  async function find(id: string): Promise<RegionRow> {
    const row = await db.selectFrom('identity_regions').selectAll().where('id', '=', id).executeTakeFirst()
    if (row === undefined) throw couldNotFind('region', id)
    return row
  }

  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/regions',
    handler: async (request) => {
      const rows = await db.selectFrom('identity_regions').selectAll().orderBy('id').execute()
      const views = rows.map((row) => view(request, row))
      return collection(request, settings, 'regions', filtered(request, views, ['parent_region_id']))
    },
  })
  app.post('/v3/regions', { schema: { body: body.region } }, async (request, reply) => {
    authorize(request, 'identity:create_region')
    const { region } = request.body
    if (region.parent_region_id != null) await find(region.parent_region_id)
    const row: RegionRow = {
      id: region.id === undefined || region.id === '' ? newId() : region.id,
      description: region.description ?? '',
      parent_region_id: region.parent_region_id ?? null,
    }
    try {
      await db.insertInto('identity_regions').values(row).execute()
    } catch (error) {
      if (!isUniqueViolation(error)) throw error
      throw new Conflict(`Conflict occurred attempting to store region - Duplicate ID, ${row.id}.`)
    }
    reply.code(201)
    return { region: view(request, row) }
  })
  app.route({
    method: ['GET', 'HEAD'],
    url: '/v3/regions/:id',
    schema: { params: Id },
    handler: async (request) => ({ region: view(request, await find(request.params.id)) }),
  })
  app.patch('/v3/regions/:id', { schema: { params: Id, body: body.region } }, async (request) => {
    authorize(request, 'identity:update_region')
    const before = await find(request.params.id)
    const { region } = request.body
    const parentId = region.parent_region_id === undefined ? before.parent_region_id : region.parent_region_id
    if (parentId === before.id) throw new Invalid(`The region ${before.id} cannot be its own parent.`)
    if (parentId !== null) await find(parentId)
    const row: RegionRow = {
      ...before,
      description: region.description ?? before.description,
      parent_region_id: parentId,
    }
    await db.updateTable('identity_regions').set(row).where('id', '=', row.id).execute()
    return { region: view(request, row) }
  })
  app.delete('/v3/regions/:id', { schema: { params: Id } }, async (request, reply) => {
    authorize(request, 'identity:delete_region')
    const { id } = await find(request.params.id)
    await db.transaction().execute(async (transaction) => {
      const used = await transaction
        .selectFrom('identity_endpoints')
        .select('id')
        .where('region_id', '=', id)
        .executeTakeFirst()
      const child = await transaction
        .selectFrom('identity_regions')
        .select('id')
        .where('parent_region_id', '=', id)
        .executeTakeFirst()
      if (used !== undefined || child !== undefined) {
        throw new Forbidden(
          `Unable to delete region ${id} because it or its child regions have associated endpoints.`,
        )
      }
      await transaction.deleteFrom('identity_regions').where('id', '=', id).execute()
    })
    return reply.code(204).send()
  })
}
