import { cpus } from 'node:os'
import { hwMetrics, type IoMetric, ioMetrics, type MetricLatest } from '../../schemas/metrics.ts'
import type { NodeContext } from '../context.ts'
import type { DeviceCounters } from '../data-plane/exported-device.ts'
import type { VolumeRow } from '../database/rows.ts'
import { ApiError, notFound } from '../errors.ts'
import { isPlainObject } from '../http/body.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { locate } from './locate.ts'

/** Events, alerts, metrics, log uploads. */
export function monitoringRoutes(node: NodeContext): Route[] {
  return [...eventRoutes(node), ...metricRoutes(node), uploadRoute(node)]
}

function eventRoutes(node: NodeContext): Route[] {
  const list = (path: string, summary: string, read: (tenant: string) => object[]): Route => ({
    method: 'GET',
    path,
    summary,
    handle: (request) => {
      const { items, page } = listOf(request, read(request.tenant))
      return { data: items, page }
    },
  })
  const none = () => []
  return [
    list('/events/system', 'List events of the system', (tenant) => node.events.list('system', tenant)),
    list('/events/user', 'List what users did', (tenant) => node.events.list('user', tenant)),
    list('/events/debug', 'List events for debugging: there are none', none),
    list('/alerts', 'List alerts: nothing raises any yet', none),
    list('/event_logs', 'List events in the older form: there are none', none),
    list('/fault_logs', 'List faults: there are none', none),
    list('/audit_logs', 'List the audit trail in the older form: there are none', none),
    list('/storage_pools', 'List storage pools: there are none', none),
    list('/failure_domains', 'List failure domains: there are none', none),
    list('/remote_providers', 'List remote providers: there are none', none),
    list('/upgrade/available', 'List upgrades: there are none', none),
    {
      method: 'GET',
      path: '/events/:uuid',
      summary: 'Read an event',
      handle: (request) => {
        const event = node.events.find(request.param('uuid'))
        if (event === undefined) throw notFound(`/events/${request.param('uuid')}`)
        return { data: event }
      },
    },
    ...['alerts', 'storage_pools', 'failure_domains', 'remote_providers'].map(
      (collection): Route => ({
        method: 'GET',
        path: `/${collection}/:key`,
        summary: `Read one of ${collection}`,
        handle: (request) => {
          throw notFound(`/${collection}/${request.param('key')}`)
        },
      }),
    ),
    ...['storage_pools', 'failure_domains', 'remote_providers'].map(
      (collection): Route => ({
        method: 'POST',
        path: `/${collection}`,
        summary: `Create one of ${collection}: refused`,
        handle: () => {
          throw new ApiError(
            'InvalidRequestError',
            400,
            6,
            `This node of one machine does not serve ${collection}`,
          )
        },
      }),
    ),
  ]
}

function metricRoutes(node: NodeContext): Route[] {
  const handle = (request: ApiRequest, kind: 'io' | 'hw', latest: boolean) => {
    const metric = request.param('metric')
    const measured = kind === 'io' ? measureIo(node, request, metric) : measureHardware(node, request, metric)
    const data = latest ? measured : measured.map(({ point, ...rest }) => ({ ...rest, points: [point] }))
    return { data, page: { total: data.length, offset: 0, limit: Math.max(data.length, 100) } }
  }
  return (['io', 'hw'] as const).flatMap((kind): Route[] => [
    {
      method: 'GET',
      path: `/metrics/${kind}/:metric`,
      summary: 'Read a metric: its newest point, for no history is kept',
      handle: (request) => handle(request, kind, false),
    },
    {
      method: 'GET',
      path: `/metrics/${kind}/:metric/latest`,
      summary: 'Read the newest point of a metric',
      handle: (request) => handle(request, kind, true),
    },
  ])
}

/** Parameters come in the query, or in the JSON body of the GET. */
function parameter(request: ApiRequest, name: string): string | undefined {
  if (request.query[name]) return request.query[name]
  const body = request.rawBody()
  const value = isPlainObject(body) ? body[name] : undefined
  return typeof value === 'string' && value !== '' ? value : undefined
}

const now = () => Math.floor(Date.now() / 1000)

function measureIo(node: NodeContext, request: ApiRequest, name: string): MetricLatest[] {
  const metric = ioMetrics.find((known) => known === name)
  if (metric === undefined) throw notFound(`/metrics/io/${name}`)
  const uuid = parameter(request, 'uuid')
  const path = parameter(request, 'path') ?? (uuid ? undefined : '/system')
  if (
    path === '/system' ||
    path === '/app_instances' ||
    path === '/volumes' ||
    path === '/storage_instances'
  ) {
    const volumes = node.database.all<VolumeRow>(
      `SELECT volume.* FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance
       JOIN app_instance ai ON ai.id = si.app_instance WHERE ai.tenant = ?`,
      request.tenant,
    )
    return [point(node, request.tenant, path, metric, volumes)]
  }
  const { ai, si, volume } = locate(node, request.tenant, path ?? `/app_instances/${uuid}`)
  const volumes = node.database.all<VolumeRow>(
    `SELECT volume.* FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance
     WHERE si.app_instance = ? AND (? = '' OR si.uuid = ?) AND (? = '' OR volume.store_id = ?)`,
    ai.id,
    si?.uuid ?? '',
    si?.uuid ?? '',
    volume?.store_id ?? '',
    volume?.store_id ?? '',
  )
  return [point(node, ai.tenant, path ?? `/app_instances/${ai.id}`, metric, volumes)]
}

function point(
  node: NodeContext,
  tenant: string,
  entityPath: string,
  metric: IoMetric,
  volumes: readonly VolumeRow[],
): MetricLatest {
  const total: DeviceCounters = { reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0, readMs: 0, writeMs: 0 }
  for (const { store_id } of volumes) {
    const counters = node.exports.counters(store_id)
    if (counters === undefined) continue
    for (const name of Object.keys(total) as (keyof DeviceCounters)[]) total[name] += counters[name]
  }
  const seconds = Math.max(1, (Date.now() - node.startedAt.getTime()) / 1000)
  return {
    entity_path: entityPath,
    tenant,
    point: { time: now(), value: measure(metric, total, seconds) },
  }
}

/**
 * Counts and bytes since the start, rates as the mean since then, latencies in milliseconds. Percentiles are not
 * measured: they show the mean.
 */
function measure(metric: IoMetric, total: DeviceCounters, seconds: number): number {
  const readMs = total.reads === 0 ? 0 : total.readMs / total.reads
  const writeMs = total.writes === 0 ? 0 : total.writeMs / total.writes
  const values: Record<IoMetric, number> = {
    reads: total.reads,
    writes: total.writes,
    bytes_read: total.bytesRead,
    bytes_written: total.bytesWritten,
    iops_read: total.reads / seconds,
    iops_write: total.writes / seconds,
    thpt_read: total.bytesRead / seconds,
    thpt_write: total.bytesWritten / seconds,
    lat_avg_read: readMs,
    lat_50_read: readMs,
    lat_90_read: readMs,
    lat_100_read: readMs,
    lat_avg_write: writeMs,
    lat_50_write: writeMs,
    lat_90_write: writeMs,
    lat_100_write: writeMs,
  }
  return values[metric]
}

function measureHardware(node: NodeContext, request: ApiRequest, name: string): MetricLatest[] {
  if (!hwMetrics.some((known) => known === name)) throw notFound(`/metrics/hw/${name}`)
  const times = cpus().map(({ times: t }) => ({
    idle: t.idle,
    all: t.user + t.nice + t.sys + t.idle + t.irq,
  }))
  const idle = times.reduce((sum, time) => sum + time.idle, 0)
  const all = times.reduce((sum, time) => sum + time.all, 0)
  const path = parameter(request, 'path') ?? `/storage_nodes/${node.identity.nodeUuid}`
  return [
    {
      entity_path: path,
      tenant: request.tenant,
      point: { time: now(), value: all === 0 ? 0 : Math.round((1 - idle / all) * 100) },
    },
  ]
}

/** There is no support service behind this node: an upload is read to its end, counted, and not kept. */
function uploadRoute(node: NodeContext): Route {
  return {
    method: 'PUT',
    path: '/logs_upload',
    summary: 'Upload logs (multipart); they are counted and not kept',
    handle: async (request) => {
      let bytes = 0
      for await (const chunk of request.upload ?? []) bytes += chunk.length
      node.events.record({
        kind: 'system',
        code: 'LOGS_UPLOADED',
        description: `${bytes} bytes of logs were uploaded; this node does not keep them`,
        tenant: request.tenant,
        objectPath: '/logs_upload',
      })
      return { data: {} }
    },
  }
}
