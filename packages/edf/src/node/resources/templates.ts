import {
  type AppTemplate,
  CreateAppTemplate,
  CreateStorageTemplate,
  CreateVolumeTemplate,
  UpdateAppTemplate,
  UpdateStorageTemplate,
  UpdateVolumeTemplate,
} from '../../schemas/app-template.ts'
import type { CreateSnapshotPolicy } from '../../schemas/snapshot-policy.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { conflict, invalidRequest, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { mergeAuth, noAuth, type StoredAuth } from './auth.ts'
import {
  documentPath,
  insertDocument,
  listDocuments,
  requireDocument,
  requireOwnDocument,
  resolveDocument,
  updateDocument,
} from './documents.ts'
import { nameOf, pathOf } from './locate.ts'
import { inlinePolicy, type StoredPolicy } from './performance-policy.ts'
import { childrenOf, refuseTwins, wholeGib } from './plans.ts'
import { appTemplateView } from './template-view.ts'

export interface StoredVolumeTemplate {
  readonly name: string
  /** GiB. */
  readonly size: number
  readonly replica_count: number
  readonly placement_mode: 'hybrid' | 'single_flash' | 'all_flash'
  readonly placement_policy: string
  readonly performance_policy?: StoredPolicy
  readonly snapshot_policies: CreateSnapshotPolicy[]
}

export interface StoredStorageTemplate {
  readonly name: string
  readonly service_configuration: 'iscsi' | 'object'
  readonly ip_pool: string
  readonly auth?: StoredAuth
  readonly volume_templates: StoredVolumeTemplate[]
}

/** Content of a document of the collection `app_templates`. */
export interface StoredTemplate {
  readonly descr: string
  readonly snapshot_policies: CreateSnapshotPolicy[]
  readonly storage_templates: StoredStorageTemplate[]
}

const collection = 'app_templates'

export function templateRoutes(node: NodeContext): Route[] {
  return [...appTemplateRoutes(node), ...storageTemplateRoutes(node), ...volumeTemplateRoutes(node)]
}

function appTemplateRoutes(node: NodeContext): Route[] {
  const read = (request: ApiRequest, name: string) => {
    const row = requireDocument(node, collection, request.tenant, name)
    return { data: view(node, row, request), path: documentPath(collection, row.name), tenant: row.tenant }
  }
  return [
    {
      method: 'GET',
      path: '/app_templates',
      summary: 'List app templates',
      handle: (request) => {
        const rows = listDocuments(node, collection, request.tenant)
        const { items, page } = listOf(
          request,
          rows.map((row) => view(node, row, request)),
        )
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: '/app_templates',
      summary: 'Create an app template, or copy one',
      body: CreateAppTemplate,
      handle: (request) => {
        const body = request.body(CreateAppTemplate)
        const origin = pathOf(body.copy_from)
        const copied: StoredTemplate | undefined = origin
          ? JSON.parse(requireDocument(node, collection, request.tenant, nameOf(origin)).content)
          : undefined
        const children = childrenOf(body.storage_templates)
        refuseTwins('storage template', children)
        const content: StoredTemplate = {
          descr: body.descr ?? copied?.descr ?? '',
          snapshot_policies: body.snapshot_policies
            ? childrenOf(body.snapshot_policies)
            : (copied?.snapshot_policies ?? []),
          storage_templates: body.storage_templates
            ? children.map((item) => storageTemplate(node, request.tenant, item))
            : (copied?.storage_templates ?? []),
        }
        insertDocument(node, { collection, tenant: request.tenant, name: body.name, content })
        return read(request, body.name)
      },
    },
    {
      method: 'GET',
      path: '/app_templates/:template',
      summary: 'Read an app template',
      handle: (request) => read(request, request.param('template')),
    },
    {
      method: 'PUT',
      path: '/app_templates/:template',
      summary: 'Update an app template; instances made of it stay as they are',
      body: UpdateAppTemplate,
      handle: (request) => {
        const body = request.body(UpdateAppTemplate)
        change(node, request, (template) => ({
          descr: body.descr ?? template.descr,
          snapshot_policies: body.snapshot_policies
            ? childrenOf(body.snapshot_policies)
            : template.snapshot_policies,
          storage_templates: body.storage_templates
            ? childrenOf(body.storage_templates).map((item) => storageTemplate(node, request.tenant, item))
            : template.storage_templates,
        }))
        return read(request, request.param('template'))
      },
    },
    {
      method: 'DELETE',
      path: '/app_templates/:template',
      summary: 'Delete an app template that no instance is bound to',
      handle: (request) => {
        const row = requireOwnDocument(node, collection, request.tenant, request.param('template'))
        const answer = read(request, row.name)
        if (answer.data.app_instances.length > 0) {
          throw invalidRequest(`The template ${row.name} is in use by app instances`)
        }
        node.database.run('DELETE FROM document WHERE seq = ?', row.seq)
        return answer
      },
    },
  ]
}

function storageTemplateRoutes(node: NodeContext): Route[] {
  const prefix = '/app_templates/:template/storage_templates'
  const viewOf = (request: ApiRequest, name: string) => {
    const row = requireDocument(node, collection, request.tenant, request.param('template'))
    const found = view(node, row, request).storage_templates.find((item) => item.name === name)
    if (found === undefined) {
      throw notFound(`${documentPath(collection, row.name)}/storage_templates/${name}`)
    }
    return { data: found, path: found.path, tenant: row.tenant }
  }
  return [
    {
      method: 'GET',
      path: prefix,
      summary: 'List storage templates',
      handle: (request) => {
        const row = requireDocument(node, collection, request.tenant, request.param('template'))
        const { items, page } = listOf(request, view(node, row, request).storage_templates)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: prefix,
      summary: 'Add a storage template',
      body: CreateStorageTemplate,
      handle: (request) => {
        const added = storageTemplate(node, request.tenant, request.body(CreateStorageTemplate))
        change(node, request, (template) => {
          if (template.storage_templates.some(({ name }) => name === added.name)) {
            throw conflict(`The storage template ${added.name} exists`)
          }
          return { ...template, storage_templates: [...template.storage_templates, added] }
        })
        return viewOf(request, added.name)
      },
    },
    {
      method: 'GET',
      path: `${prefix}/:st`,
      summary: 'Read a storage template',
      handle: (request) => viewOf(request, request.param('st')),
    },
    {
      method: 'PUT',
      path: `${prefix}/:st`,
      summary: 'Update a storage template',
      body: UpdateStorageTemplate,
      handle: (request) => {
        const body = request.body(UpdateStorageTemplate)
        changeStorage(node, request, (before) => ({
          ...before,
          ...(body.auth && { auth: mergeAuth(before.auth ?? noAuth, body.auth) }),
          ...(pathOf(body.ip_pool) !== '' && { ip_pool: poolOf(node, request.tenant, body.ip_pool) }),
          ...(body.volume_templates && {
            volume_templates: childrenOf(body.volume_templates).map((item) =>
              volumeTemplate(node, request.tenant, item),
            ),
          }),
        }))
        return viewOf(request, request.param('st'))
      },
    },
    {
      method: 'DELETE',
      path: `${prefix}/:st`,
      summary: 'Remove a storage template',
      handle: (request) => {
        const gone = viewOf(request, request.param('st'))
        changeStorage(node, request, () => undefined)
        return gone
      },
    },
  ]
}

function volumeTemplateRoutes(node: NodeContext): Route[] {
  const prefix = '/app_templates/:template/storage_templates/:st/volume_templates'
  const listed = (request: ApiRequest) => {
    const row = requireDocument(node, collection, request.tenant, request.param('template'))
    const parent = view(node, row, request).storage_templates.find(
      (item) => item.name === request.param('st'),
    )
    if (parent === undefined) throw notFound(request.path)
    return parent
  }
  const viewOf = (request: ApiRequest, name: string) => {
    const parent = listed(request)
    const found = parent.volume_templates.find((item) => item.name === name)
    if (found === undefined) throw notFound(`${parent.path}/volume_templates/${name}`)
    return { data: found, path: found.path }
  }
  return [
    {
      method: 'GET',
      path: prefix,
      summary: 'List volume templates',
      handle: (request) => {
        const { items, page } = listOf(request, listed(request).volume_templates)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: prefix,
      summary: 'Add a volume template',
      body: CreateVolumeTemplate,
      handle: (request) => {
        const added = volumeTemplate(node, request.tenant, request.body(CreateVolumeTemplate))
        changeStorage(node, request, (before) => {
          if (before.volume_templates.some(({ name }) => name === added.name)) {
            throw conflict(`The volume template ${added.name} exists`)
          }
          return { ...before, volume_templates: [...before.volume_templates, added] }
        })
        return viewOf(request, added.name)
      },
    },
    {
      method: 'GET',
      path: `${prefix}/:vt`,
      summary: 'Read a volume template',
      handle: (request) => viewOf(request, request.param('vt')),
    },
    {
      method: 'PUT',
      path: `${prefix}/:vt`,
      summary: 'Update a volume template',
      body: UpdateVolumeTemplate,
      handle: (request) => {
        const { name } = viewOf(request, request.param('vt')).data
        const body = request.body(UpdateVolumeTemplate)
        changeStorage(node, request, (before) => ({
          ...before,
          volume_templates: before.volume_templates.map((item) =>
            item.name === name
              ? volumeTemplate(node, request.tenant, { ...item, ...body, name, size: body.size ?? item.size })
              : item,
          ),
        }))
        return viewOf(request, name)
      },
    },
    {
      method: 'DELETE',
      path: `${prefix}/:vt`,
      summary: 'Remove a volume template',
      handle: (request) => {
        const gone = viewOf(request, request.param('vt'))
        changeStorage(node, request, (before) => ({
          ...before,
          volume_templates: before.volume_templates.filter((item) => item.name !== gone.data.name),
        }))
        return gone
      },
    },
  ]
}

function view(node: NodeContext, row: DocumentRow, request: ApiRequest): AppTemplate {
  return appTemplateView(node, row, request.traits)
}

function change(
  node: NodeContext,
  request: ApiRequest,
  edit: (template: StoredTemplate) => StoredTemplate,
): void {
  const row = requireOwnDocument(node, collection, request.tenant, request.param('template'))
  updateDocument(node, row, edit(JSON.parse(row.content)))
}

/** Edits one storage template, or removes it when `edit` gives nothing. */
function changeStorage(
  node: NodeContext,
  request: ApiRequest,
  edit: (template: StoredStorageTemplate) => StoredStorageTemplate | undefined,
): void {
  const name = request.param('st')
  change(node, request, (template) => {
    if (!template.storage_templates.some((item) => item.name === name)) throw notFound(request.path)
    return {
      ...template,
      storage_templates: template.storage_templates.flatMap((item) =>
        item.name === name ? (edit(item) ?? []) : [item],
      ),
    }
  })
}

function poolOf(node: NodeContext, tenant: string, reference: CreateStorageTemplate['ip_pool']): string {
  return resolveDocument(node, 'access_network_ip_pools', tenant, reference, 'default').path
}

function storageTemplate(
  node: NodeContext,
  tenant: string,
  input: CreateStorageTemplate,
): StoredStorageTemplate {
  const volumes = childrenOf(input.volume_templates)
  refuseTwins('volume template', volumes)
  return {
    name: input.name,
    service_configuration: input.service_configuration ?? 'iscsi',
    ip_pool: poolOf(node, tenant, input.ip_pool),
    ...(input.auth && { auth: mergeAuth(noAuth, input.auth) }),
    volume_templates: volumes.map((item) => volumeTemplate(node, tenant, item)),
  }
}

function volumeTemplate(
  node: NodeContext,
  tenant: string,
  input: CreateVolumeTemplate,
): StoredVolumeTemplate {
  const policy = inlinePolicy(input.performance_policy)
  const { path } = resolveDocument(node, 'placement_policies', tenant, input.placement_policy, 'default')
  return {
    name: input.name,
    size: wholeGib(input.size),
    replica_count: input.replica_count ?? 3,
    placement_mode: input.placement_mode ?? 'hybrid',
    placement_policy: path,
    ...(policy && { performance_policy: policy }),
    snapshot_policies: childrenOf(input.snapshot_policies),
  }
}
