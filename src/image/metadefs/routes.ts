import type { ApiScope } from '../api.ts'
import type { Query } from '../images/filters.ts'
import { last } from '../images/filters.ts'
import { pagePath } from '../images/paging.ts'
import { objectOf, sendJson } from '../images/routes.ts'
import { requireRule } from './access.ts'
import { createAssociation, deleteAssociation, listAssociations, listResourceTypes } from './associations.ts'
import { listNamespaces } from './list-namespaces.ts'
import {
  createNamespace,
  deleteNamespace,
  deleteParts,
  showNamespace,
  updateNamespace,
} from './namespaces.ts'
import { createObject, deleteObject, listObjects, showObject, updateObject } from './objects.ts'
import { createProperty, deleteProperty, listProperties, showProperty, updateProperty } from './properties.ts'
import { createTag, createTags, deleteTag, listTags, renameTag, showTag } from './tags.ts'

type In = { Params: { namespace: string }; Querystring: Query }
type Part = { Params: { namespace: string; name: string }; Querystring: Query }

/** Metadata definitions. @see image-api specification 10.1 */
export function metadefRoutes(scope: ApiScope): void {
  namespaceRoutes(scope)
  associationRoutes(scope)
  propertyRoutes(scope)
  objectRoutes(scope)
  tagRoutes(scope)
}

const base = '/metadefs/namespaces'

function namespaceRoutes({ app, environment, requestOf }: ApiScope): void {
  app.get<{ Querystring: Query }>(base, async (request, reply) => {
    const { namespaces, next } = await listNamespaces(environment, requestOf(request), request.query)
    return sendJson(reply, 200, {
      namespaces,
      ...(next === undefined ? {} : { next: pagePath(`/v2${base}`, request.query, next) }),
      schema: '/v2/schemas/metadefs/namespaces',
      first: pagePath(`/v2${base}`, request.query, undefined),
    })
  })
  app.post(base, async (request, reply) => {
    const view = await createNamespace(environment, requestOf(request), objectOf(request.body))
    reply.header('location', String(view['self']))
    return sendJson(reply, 201, view)
  })
  app.get<In>(`${base}/:namespace`, async (request, reply) => {
    const resourceType = last(request.query['resource_type'])
    return sendJson(
      reply,
      200,
      await showNamespace(environment, requestOf(request), request.params.namespace, resourceType),
    )
  })
  app.put<In>(`${base}/:namespace`, async (request, reply) => {
    const body = objectOf(request.body)
    return sendJson(
      reply,
      200,
      await updateNamespace(environment, requestOf(request), request.params.namespace, body),
    )
  })
  app.delete<In>(`${base}/:namespace`, async (request, reply) => {
    await deleteNamespace(environment, requestOf(request), request.params.namespace)
    return reply.code(204).send()
  })
}

function associationRoutes({ app, environment, requestOf }: ApiScope): void {
  app.get('/metadefs/resource_types', async (request, reply) => {
    requireRule(environment, requestOf(request), 'list_metadef_resource_types')
    return sendJson(reply, 200, { resource_types: await listResourceTypes(environment) })
  })
  app.get<In>(`${base}/:namespace/resource_types`, async (request, reply) => {
    const found = await listAssociations(environment, requestOf(request), request.params.namespace)
    return sendJson(reply, 200, { resource_type_associations: found })
  })
  app.post<In>(`${base}/:namespace/resource_types`, async (request, reply) => {
    const body = objectOf(request.body)
    return sendJson(
      reply,
      201,
      await createAssociation(environment, requestOf(request), request.params.namespace, body),
    )
  })
  app.delete<Part>(`${base}/:namespace/resource_types/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    await deleteAssociation(environment, requestOf(request), namespace, name)
    return reply.code(204).send()
  })
}

function propertyRoutes({ app, environment, requestOf }: ApiScope): void {
  const path = `${base}/:namespace/properties`
  app.get<In>(path, async (request, reply) => {
    const properties = await listProperties(environment, requestOf(request), request.params.namespace)
    return sendJson(reply, 200, { properties })
  })
  app.post<In>(path, async (request, reply) => {
    const body = objectOf(request.body)
    return sendJson(
      reply,
      201,
      await createProperty(environment, requestOf(request), request.params.namespace, body),
    )
  })
  app.delete<In>(path, async (request, reply) => {
    await deleteParts(environment, requestOf(request), request.params.namespace, 'metadef_properties')
    return reply.code(204).send()
  })
  app.get<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    const resourceType = last(request.query['resource_type'])
    return sendJson(
      reply,
      200,
      await showProperty(environment, requestOf(request), namespace, name, resourceType),
    )
  })
  app.put<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    const body = objectOf(request.body)
    return sendJson(reply, 200, await updateProperty(environment, requestOf(request), namespace, name, body))
  })
  app.delete<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    await deleteProperty(environment, requestOf(request), namespace, name)
    return reply.code(204).send()
  })
}

function objectRoutes({ app, environment, requestOf }: ApiScope): void {
  const path = `${base}/:namespace/objects`
  app.get<In>(path, async (request, reply) => {
    const { namespace } = request.params
    const objects = await listObjects(environment, requestOf(request), namespace, request.query)
    return sendJson(reply, 200, { objects, schema: '/v2/schemas/metadefs/objects' })
  })
  app.post<In>(path, async (request, reply) => {
    const body = objectOf(request.body)
    return sendJson(
      reply,
      201,
      await createObject(environment, requestOf(request), request.params.namespace, body),
    )
  })
  app.delete<In>(path, async (request, reply) => {
    await deleteParts(environment, requestOf(request), request.params.namespace, 'metadef_objects')
    return reply.code(204).send()
  })
  app.get<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    return sendJson(reply, 200, await showObject(environment, requestOf(request), namespace, name))
  })
  app.put<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    const body = objectOf(request.body)
    return sendJson(reply, 200, await updateObject(environment, requestOf(request), namespace, name, body))
  })
  app.delete<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    await deleteObject(environment, requestOf(request), namespace, name)
    return reply.code(204).send()
  })
}

function tagRoutes({ app, environment, requestOf }: ApiScope): void {
  const path = `${base}/:namespace/tags`
  app.get<In>(path, async (request, reply) => {
    const { namespace } = request.params
    const tags = await listTags(environment, requestOf(request), namespace, request.query)
    return sendJson(reply, 200, { tags })
  })
  app.post<In>(path, async (request, reply) => {
    const append = request.headers['x-openstack-append'] === 'true'
    const body = objectOf(request.body)
    const tags = await createTags(environment, requestOf(request), request.params.namespace, body, append)
    return sendJson(reply, 201, { tags })
  })
  app.delete<In>(path, async (request, reply) => {
    await deleteParts(environment, requestOf(request), request.params.namespace, 'metadef_tags')
    return reply.code(204).send()
  })
  app.get<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    return sendJson(reply, 200, await showTag(environment, requestOf(request), namespace, name))
  })
  app.post<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    return sendJson(reply, 201, await createTag(environment, requestOf(request), namespace, name))
  })
  app.put<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    const body = objectOf(request.body)
    return sendJson(reply, 200, await renameTag(environment, requestOf(request), namespace, name, body))
  })
  app.delete<Part>(`${path}/:name`, async (request, reply) => {
    const { namespace, name } = request.params
    await deleteTag(environment, requestOf(request), namespace, name)
    return reply.code(204).send()
  })
}
