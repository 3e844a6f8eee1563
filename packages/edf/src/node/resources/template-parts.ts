import { AuthInput } from '../../schemas/auth.ts'
import { PerformancePolicyInput } from '../../schemas/performance-policy.ts'
import { CreateSnapshotPolicy, UpdateSnapshotPolicy } from '../../schemas/snapshot-policy.ts'
import type { NodeContext } from '../context.ts'
import { conflict, notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { authView, mergeAuth, noAuth } from './auth.ts'
import { documentPath, requireDocument, requireOwnDocument, updateDocument } from './documents.ts'
import { mergePolicy, type StoredPolicy } from './performance-policy.ts'
import { snapshotPolicyChange } from './snapshot-policies.ts'
import { policyViews } from './template-view.ts'
import type { StoredStorageTemplate, StoredTemplate, StoredVolumeTemplate } from './templates.ts'

const collection = 'app_templates'
const appTemplate = '/app_templates/:template'
const storageTemplate = `${appTemplate}/storage_templates/:st`
const volumeTemplate = `${storageTemplate}/volume_templates/:vt`

/**
 * What SDKs reach below templates as resources of their own: credentials, limits and snapshot policies. Changes do not
 * reach the instances that exist. (EDF API specification, section 2.10.)
 */
export function templatePartRoutes(node: NodeContext): Route[] {
  return [
    ...authRoutes(node),
    ...performancePolicyRoutes(node),
    ...snapshotPolicyRoutes(node, appTemplate, whole),
    ...snapshotPolicyRoutes(node, volumeTemplate, volumes),
  ]
}

/** The part of a template that holds what a request is about. */
interface Holder<Part> {
  /** Undefined when the template has no such part. */
  find(template: StoredTemplate, request: ApiRequest): Part | undefined
  replace(template: StoredTemplate, request: ApiRequest, part: Part): StoredTemplate
}

const whole: Holder<StoredTemplate> = {
  find: (template) => template,
  replace: (_template, _request, part) => part,
}

const storages: Holder<StoredStorageTemplate> = {
  find: (template, request) => template.storage_templates.find(({ name }) => name === request.param('st')),
  replace: (template, _request, part) => ({
    ...template,
    storage_templates: withPart(template.storage_templates, part),
  }),
}

const volumes: Holder<StoredVolumeTemplate> = {
  find: (template, request) =>
    storages.find(template, request)?.volume_templates.find(({ name }) => name === request.param('vt')),
  replace: (template, request, part) => {
    const storage = storages.find(template, request)
    if (storage === undefined) return template
    const volume_templates = withPart(storage.volume_templates, part)
    return storages.replace(template, request, { ...storage, volume_templates })
  },
}

function withPart<Part extends { readonly name: string }>(parts: readonly Part[], part: Part): Part[] {
  return parts.map((before) => (before.name === part.name ? part : before))
}

/** @throws ApiError 404 */
function read<Part>(node: NodeContext, request: ApiRequest, holder: Holder<Part>) {
  const row = requireDocument(node, collection, request.tenant, request.param('template'))
  const part = holder.find(JSON.parse(row.content), request)
  const own = pathOf(row.name, request)
  if (part === undefined) throw notFound(own)
  return { part, own, tenant: row.tenant }
}

/** @throws ApiError 404, also for templates that are only inherited from a parent tenant */
function change<Part>(
  node: NodeContext,
  request: ApiRequest,
  holder: Holder<Part>,
  edit: (part: Part, own: string) => Part,
): void {
  const row = requireOwnDocument(node, collection, request.tenant, request.param('template'))
  const template: StoredTemplate = JSON.parse(row.content)
  const part = holder.find(template, request)
  const own = pathOf(row.name, request)
  if (part === undefined) throw notFound(own)
  updateDocument(node, row, holder.replace(template, request, edit(part, own)))
}

function pathOf(template: string, request: ApiRequest): string {
  const storage = request.param('st') && `/storage_templates/${request.param('st')}`
  const volume = request.param('vt') && `/volume_templates/${request.param('vt')}`
  return `${documentPath(collection, template)}${storage}${volume}`
}

function authRoutes(node: NodeContext): Route[] {
  const path = `${storageTemplate}/auth`
  const answer = (request: ApiRequest) => {
    const { part, own, tenant } = read(node, request, storages)
    const path = `${own}/auth`
    return { data: authView(part.auth ?? noAuth, path), path, tenant }
  }
  return [
    {
      method: 'GET',
      path,
      summary: 'Read how initiators of a template’s storage instances prove who they are',
      handle: answer,
    },
    {
      method: 'PUT',
      path,
      summary: 'Change how initiators of a template’s storage instances prove who they are',
      body: AuthInput,
      handle: (request) => {
        const body = request.body(AuthInput)
        change(node, request, storages, (before) => ({
          ...before,
          auth: mergeAuth(before.auth ?? noAuth, body),
        }))
        return answer(request)
      },
    },
  ]
}

function performancePolicyRoutes(node: NodeContext): Route[] {
  const path = `${volumeTemplate}/performance_policy`
  /** @throws ApiError 404 when there are no limits, as volumes do */
  const answer = (request: ApiRequest) => {
    const { part, own, tenant } = read(node, request, volumes)
    const policyPath = `${own}/performance_policy`
    if (part.performance_policy === undefined) throw notFound(policyPath)
    return { data: { path: policyPath, ...part.performance_policy }, path: policyPath, tenant }
  }
  const store = (request: ApiRequest, edit: (before: StoredPolicy | undefined) => StoredPolicy) =>
    change(node, request, volumes, (before) => ({
      ...before,
      performance_policy: edit(before.performance_policy),
    }))
  return [
    {
      method: 'GET',
      path,
      summary: 'Read the limits of a volume template; 404 when it has none',
      handle: answer,
    },
    {
      method: 'POST',
      path,
      summary: 'Set the limits of a volume template, replacing those it has',
      body: PerformancePolicyInput,
      handle: (request) => {
        const body = request.body(PerformancePolicyInput)
        store(request, () => mergePolicy(undefined, body))
        return answer(request)
      },
    },
    {
      method: 'PUT',
      path,
      summary: 'Change limits of a volume template',
      body: PerformancePolicyInput,
      handle: (request) => {
        answer(request)
        const body = request.body(PerformancePolicyInput)
        store(request, (before) => mergePolicy(before, body))
        return answer(request)
      },
    },
    {
      method: 'DELETE',
      path,
      summary: 'Remove the limits of a volume template',
      handle: (request) => {
        const gone = answer(request)
        change(node, request, volumes, ({ performance_policy: _, ...rest }) => rest)
        return gone
      },
    },
  ]
}

function snapshotPolicyRoutes<Part extends { readonly snapshot_policies: CreateSnapshotPolicy[] }>(
  node: NodeContext,
  prefix: string,
  holder: Holder<Part>,
): Route[] {
  const policies = `${prefix}/snapshot_policies`
  const views = (request: ApiRequest) => {
    const { part, own, tenant } = read(node, request, holder)
    return { own, tenant, items: policyViews(own, part.snapshot_policies) }
  }
  const answer = (request: ApiRequest, name: string) => {
    const { items, own, tenant } = views(request)
    const data = items.find((item) => item.name === name)
    if (data === undefined) throw notFound(`${own}/snapshot_policies/${name}`)
    return { data, path: data.path, tenant }
  }
  const store = (
    request: ApiRequest,
    edit: (before: CreateSnapshotPolicy[], own: string) => CreateSnapshotPolicy[],
  ) =>
    change(node, request, holder, (part, own) => ({
      ...part,
      snapshot_policies: edit(part.snapshot_policies, own),
    }))
  return [
    {
      method: 'GET',
      path: policies,
      summary: 'List snapshot policies of a template',
      handle: (request) => {
        const { items, page } = listOf(request, views(request).items)
        return { data: items, page }
      },
    },
    {
      method: 'POST',
      path: policies,
      summary: 'Add a snapshot policy to a template',
      body: CreateSnapshotPolicy,
      handle: (request) => {
        const policy = request.body(CreateSnapshotPolicy)
        store(request, (before, own) => {
          if (before.some(({ name }) => name === policy.name)) {
            throw conflict(`${own}/snapshot_policies/${policy.name} exists`)
          }
          return [...before, policy]
        })
        return answer(request, policy.name)
      },
    },
    {
      method: 'GET',
      path: `${policies}/:name`,
      summary: 'Read a snapshot policy of a template',
      handle: (request) => answer(request, request.param('name')),
    },
    {
      method: 'PUT',
      path: `${policies}/:name`,
      summary: 'Update a snapshot policy of a template',
      body: UpdateSnapshotPolicy,
      handle: (request) => {
        const { name } = answer(request, request.param('name')).data
        const changed = snapshotPolicyChange(request.body(UpdateSnapshotPolicy))
        store(request, (before) =>
          before.map((policy) => (policy.name === name ? { ...policy, ...changed } : policy)),
        )
        return answer(request, name)
      },
    },
    {
      method: 'DELETE',
      path: `${policies}/:name`,
      summary: 'Remove a snapshot policy from a template',
      handle: (request) => {
        const gone = answer(request, request.param('name'))
        store(request, (before) => before.filter(({ name }) => name !== gone.data.name))
        return gone
      },
    },
  ]
}
