import { type Alert, type Event, UpdateAlert } from '../../schemas/event.ts'
import type { NodeContext } from '../context.ts'
import { notFound } from '../errors.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { timeRange } from '../http/time-range.ts'
import { nameOf } from './locate.ts'

interface Entry {
  readonly path: string
  readonly [attribute: string]: unknown
}

/** Events and alerts, and the older forms in which v2.1 shows them. */
export function eventRoutes(node: NodeContext): Route[] {
  const system = (tenant: string) => node.events.list('system', tenant)
  const user = (tenant: string) => node.events.list('user', tenant)
  return [
    list('/events/system', 'List what happened to the system', system),
    list('/events/user', 'List what users did', user),
    list('/events/debug', 'List events for debugging: there are none', () => []),
    {
      method: 'GET',
      path: '/events/:uuid',
      summary: 'Read an event',
      handle: (request) => {
        const event = node.events.find(request.param('uuid'), request.tenant)
        if (event === undefined) throw notFound(`/events/${request.param('uuid')}`)
        return { data: event, tenant: event.tenant }
      },
    },
    ...alertRoutes(node),
    ...logRoutes('event_logs', 'events', (tenant) => system(tenant).map(eventLog)),
    ...logRoutes('audit_logs', 'the audit trail', (tenant) => user(tenant).map(auditLog)),
    ...logRoutes('fault_logs', 'faults', (tenant) => node.alerts.list(tenant).map(faultLog)),
  ]
}

function alertRoutes(node: NodeContext): Route[] {
  const required = (request: ApiRequest): Alert => {
    const uuid = request.param('uuid')
    const alert = node.alerts.find(uuid, request.tenant)
    if (alert === undefined) throw notFound(`/alerts/${uuid}`)
    return alert
  }
  const answer = (alert: Alert) => ({ data: alert, path: alert.path, tenant: alert.tenant })
  return [
    list('/alerts', 'List alerts', (tenant) => node.alerts.list(tenant)),
    {
      method: 'GET',
      path: '/alerts/:uuid',
      summary: 'Read an alert',
      handle: (request) => answer(required(request)),
    },
    {
      method: 'PUT',
      path: '/alerts/:uuid',
      summary: 'Clear an alert; it comes back when its reason stays',
      body: UpdateAlert,
      handle: (request) => {
        const { uuid } = required(request)
        const { cleared } = request.body(UpdateAlert)
        if (cleared !== undefined) node.alerts.setCleared(uuid, cleared)
        return answer(required(request))
      },
    },
  ]
}

function list(path: string, summary: string, read: (tenant: string) => readonly object[]): Route {
  return {
    method: 'GET',
    path,
    summary,
    handle: (request) => {
      const { items, page } = listOf(request, within(request, read(request.tenant)))
      return { data: items, page }
    },
  }
}

function within(request: ApiRequest, events: readonly object[]): readonly object[] {
  const { from, to } = timeRange((name) => request.query[name] || undefined)
  return events.filter((event) => {
    const timeMs = 'time' in event ? Number(event.time) * 1000 : from
    return timeMs >= from && timeMs <= to
  })
}

function logRoutes(collection: string, noun: string, read: (tenant: string) => readonly Entry[]): Route[] {
  return [
    list(`/${collection}`, `List ${noun} in the older form`, read),
    {
      method: 'GET',
      path: `/${collection}/:id`,
      summary: `Read an entry of ${noun} in the older form`,
      handle: (request) => {
        const path = `/${collection}/${request.param('id')}`
        const entry = read(request.tenant).find((item) => item.path === path)
        if (entry === undefined) throw notFound(path)
        return { data: entry, path }
      },
    },
  ]
}

/** `/app_instances/x/…/volumes/y` is a `volumes` with the name `y`. */
function objectOf(path: string) {
  const segments = path.split('/')
  return { object_type: segments.at(-2) ?? '', object_name: nameOf(path), object_url: path }
}

function eventLog(event: Event): Entry {
  const { object_name, ...object } = objectOf(event.object_path)
  return {
    path: `/event_logs/${event.uuid}`,
    id: event.uuid,
    cause: event.description,
    code: event.code,
    ...object,
    object_id: object_name,
    object_path: event.object_path,
    object_tenant: event.tenant,
    object_lbl: object_name,
    severity: event.severity,
    timestamp: event.time,
    type: 'event',
  }
}

function faultLog(alert: Alert): Entry {
  const { object_name, ...object } = objectOf(alert.object_path)
  return {
    path: `/fault_logs/${alert.uuid}`,
    id: alert.uuid,
    cause: alert.description,
    code: alert.code,
    ...object,
    object_id: object_name,
    object_path: alert.object_path,
    object_tenant: alert.tenant,
    object_lbl: object_name,
    severity: alert.severity,
    timestamp: alert.time,
    type: 'fault',
    acknowledged: alert.cleared,
    callhome_enabled: false,
    cleared: alert.cleared,
    count: alert.repeat_count,
    repeat: alert.repeat_count > 1,
  }
}

function auditLog(event: Event): Entry {
  const context: { user?: string; driver?: string; version?: string } = JSON.parse(event.context)
  const verb = event.code.slice(event.code.lastIndexOf('_') + 1)
  const operations: Readonly<Record<string, string>> = {
    CREATED: 'OBJECT_ADDED',
    DELETED: 'OBJECT_DELETED',
  }
  return {
    path: `/audit_logs/${event.uuid}`,
    id: event.uuid,
    description: event.description,
    ...objectOf(event.object_path),
    operation: operations[verb] ?? 'OBJECT_MODIFIED',
    session_info: context.driver ?? '',
    timestamp: event.time,
    user: context.user ?? '',
    param_info: '',
    version: context.version ?? '',
  }
}
