import {
  hwMetrics,
  type IoMetric,
  ioMetrics,
  type MetricPoint,
  type MetricSeries,
} from '../../schemas/metrics.ts'
import type { NodeContext } from '../context.ts'
import { notFound } from '../errors.ts'
import { isPlainObject } from '../http/body.ts'
import { listOf } from '../http/list.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { durationMs, type TimeRange, timeRange } from '../http/time-range.ts'
import { percentile, sum } from '../metering/activity.ts'
import type { Point } from '../metering/meters.ts'
import { storageNodePath } from './app-instance-view.ts'
import { locate, nameOf, storageInstancePath, volumePath } from './locate.ts'

/** Something that metrics are asked of: a volume, or what holds volumes. */
interface Entity {
  readonly entity_path: string
  readonly tenant: string
  readonly storeIds: readonly string[]
}

export function metricRoutes(node: NodeContext): Route[] {
  return [
    // The second is where version 2 has it.
    ...['/metrics/io/:metric', '/system/metrics/:metric'].map(
      (path): Route => ({
        method: 'GET',
        path,
        summary: 'Read a metric of I/O: the last hour, a point every ten seconds',
        handle: (request) => {
          const metric = ioMetric(request)
          const range = timeRange((name) => parameter(request, name))
          // Points closer than this are joined.
          const interval = parameter(request, 'ival')
          const intervalMs = interval === undefined ? 0 : durationMs('ival', interval)
          const { items, page } = listOf(listRequest(request), entitiesOf(node, request))
          const series = items.map((entity): MetricSeries => {
            const points = pointsWithin(node.meters.points(entity.storeIds), range)
            return withPoints(
              entity,
              joined(points, intervalMs).map((point) => measured(metric, point)),
            )
          })
          return { data: series, page }
        },
      }),
    ),
    {
      method: 'GET',
      path: '/metrics/io/:metric/latest',
      summary: 'Read the newest point of a metric of I/O',
      handle: (request) => {
        const metric = ioMetric(request)
        const { items, page } = listOf(listRequest(request), entitiesOf(node, request))
        const latest = items.map(({ entity_path, tenant, storeIds }) => ({
          entity_path,
          tenant,
          point: measured(metric, node.meters.latest(storeIds)),
        }))
        return { data: latest, page }
      },
    },
    {
      method: 'GET',
      path: '/metrics/hw/:metric',
      summary: 'Read a metric of the machine: the last hour, a point every ten seconds',
      handle: (request) => {
        const entity = machine(node, request)
        const { from, to } = timeRange((name) => parameter(request, name))
        const points = cpuPoints(node).filter(({ time }) => time >= from && time <= to)
        const { items, page } = listOf(listRequest(request), [withPoints(entity, points)])
        return { data: items, page }
      },
    },
    {
      method: 'GET',
      path: '/metrics/hw/:metric/latest',
      summary: 'Read the newest point of a metric of the machine',
      handle: (request) => {
        const { entity_path, tenant } = machine(node, request)
        const point = cpuPoints(node).at(-1)
        const { items, page } = listOf(listRequest(request), [{ entity_path, tenant, point }])
        return { data: items, page }
      },
    },
  ]
}

function withPoints({ entity_path, tenant }: Entity, points: MetricPoint[]): MetricSeries {
  return { entity_path, tenant, points }
}

/** Parameters come in the query, or in the JSON body of the GET; the query wins. */
function parameter(request: ApiRequest, name: string): string | undefined {
  const inQuery = request.query[name]
  if (inQuery !== undefined && inQuery !== '') return inQuery
  const body = request.rawBody()
  const value = isPlainObject(body) ? body[name] : undefined
  return typeof value === 'string' || typeof value === 'number' ? String(value) || undefined : undefined
}

/** The request's options for lists, without the parameters that are the metrics' own. */
function listRequest(request: ApiRequest): Pick<ApiRequest, 'query' | 'traits'> {
  const query: Record<string, string> = {}
  for (const name of ['filter', 'limit', 'sort', 'offset']) {
    const value = parameter(request, name)
    if (value !== undefined) query[name] = value
  }
  return { query, traits: request.traits }
}

function ioMetric(request: ApiRequest): IoMetric {
  const name = request.param('metric')
  const metric = ioMetrics.find((known) => known === name)
  if (metric === undefined) throw notFound(`/metrics/io/${name}`)
  return metric
}

/** @throws ApiError 404 for a metric or a storage node that does not exist */
function machine(node: NodeContext, request: ApiRequest): Entity {
  const name = request.param('metric')
  if (!hwMetrics.some((known) => known === name)) throw notFound(`/metrics/hw/${name}`)
  const path = parameter(request, 'path') ?? '/storage_nodes'
  const uuid = parameter(request, 'uuid') ?? (path === '/storage_nodes' ? undefined : nameOf(path))
  const known = uuid === undefined || uuid === node.identity.nodeUuid
  if (!known || !path.startsWith('/storage_nodes')) throw notFound(uuid === undefined ? path : uuid)
  return { entity_path: storageNodePath(node), tenant: request.tenant, storeIds: [] }
}

function cpuPoints(node: NodeContext): MetricPoint[] {
  return node.meters.cpuUsage().map(({ endedAt, percent }) => ({ time: Math.floor(endedAt), value: percent }))
}

interface VolumePlace {
  readonly ai: string
  readonly si: string
  readonly siUuid: string
  readonly name: string
  readonly uuid: string
  readonly store_id: string
  readonly tenant: string
}

/** What `path` or `uuid` means; without either, the whole system. @throws ApiError 404 */
function entitiesOf(node: NodeContext, request: ApiRequest): Entity[] {
  const uuid = parameter(request, 'uuid')
  const path = parameter(request, 'path') ?? (uuid === undefined ? '/system' : undefined)
  const volumes = node.database.all<VolumePlace>(
    `SELECT ai.id AS ai, ai.tenant, si.name AS si, si.uuid AS siUuid, volume.name, volume.uuid, volume.store_id
     FROM volume JOIN storage_instance si ON si.uuid = volume.storage_instance
     JOIN app_instance ai ON ai.id = si.app_instance
     WHERE volume.state = 'ready' AND (ai.tenant = ? OR ai.tenant LIKE ? || '/%') ORDER BY volume.seq`,
    request.tenant,
    request.tenant,
  )
  if (path === '/system') {
    const storeIds = volumes.map(({ store_id }) => store_id)
    return [{ entity_path: path, tenant: request.tenant, storeIds }]
  }
  const grouping = path === undefined ? undefined : groupings[path]
  if (grouping !== undefined) return grouped(volumes, grouping)
  if (path !== undefined) {
    const { ai, si, volume } = locate(node, request.tenant, path)
    const inside = volumes.filter(
      (place) =>
        place.ai === ai.id &&
        (si === undefined || place.siUuid === si.uuid) &&
        (volume === undefined || place.store_id === volume.store_id),
    )
    return [{ entity_path: path, tenant: ai.tenant, storeIds: inside.map(({ store_id }) => store_id) }]
  }
  return [ofUuid(node, request, volumes, uuid ?? '')]
}

/** Of an app instance, a storage instance or a volume. */
function ofUuid(
  node: NodeContext,
  request: ApiRequest,
  volumes: readonly VolumePlace[],
  uuid: string,
): Entity {
  const volume = volumes.find((place) => place.uuid === uuid)
  const isAppInstance = volumes.some(({ ai }) => ai === uuid)
  const inInstance = volumes.filter(({ siUuid }) => siUuid === uuid)
  if (!isAppInstance && volume !== undefined) {
    return { entity_path: volumePathOf(volume), tenant: volume.tenant, storeIds: [volume.store_id] }
  }
  if (!isAppInstance && inInstance[0] !== undefined) {
    const entity_path = storageInstancePath(inInstance[0].ai, inInstance[0].si)
    return { entity_path, tenant: inInstance[0].tenant, storeIds: inInstance.map((place) => place.store_id) }
  }
  const { ai } = locate(node, request.tenant, `/app_instances/${uuid}`)
  const storeIds = volumes.filter((place) => place.ai === ai.id).map(({ store_id }) => store_id)
  return { entity_path: `/app_instances/${ai.id}`, tenant: ai.tenant, storeIds }
}

const volumePathOf = ({ ai, si, name }: VolumePlace) => volumePath(ai, si, name)

/** Collections answer one series for each of their objects. */
const groupings: Readonly<Record<string, (place: VolumePlace) => string>> = {
  '/app_instances': ({ ai }) => `/app_instances/${ai}`,
  '/storage_instances': ({ ai, si }) => storageInstancePath(ai, si),
  '/volumes': volumePathOf,
}

function grouped(volumes: readonly VolumePlace[], pathOf: (place: VolumePlace) => string): Entity[] {
  return [...Map.groupBy(volumes, pathOf)].map(([entity_path, places]) => ({
    entity_path,
    tenant: places[0]?.tenant ?? '',
    storeIds: places.map(({ store_id }) => store_id),
  }))
}

function pointsWithin(points: readonly Point[], { from, to }: TimeRange): Point[] {
  return points.filter(({ startedAt, endedAt }) => endedAt >= from && startedAt <= to)
}

/** Neighbours are joined until each point tells of at least `intervalMs`. */
function joined(points: readonly Point[], intervalMs: number): Point[] {
  const result: Point[] = []
  for (const point of points) {
    const last = result.at(-1)
    if (last === undefined || last.endedAt - last.startedAt >= intervalMs) result.push(point)
    else result[result.length - 1] = join(last, point)
  }
  return result
}

function join(first: Point, second: Point): Point {
  return {
    startedAt: first.startedAt,
    endedAt: second.endedAt,
    read: sum(first.read, second.read),
    write: sum(first.write, second.write),
    totalRead: second.totalRead,
    totalWrite: second.totalWrite,
  }
}

/**
 * `reads`, `writes` and bytes count up from the node's start; `iops_` and `thpt_` (bytes) are per second of the
 * point's interval; latencies are milliseconds.
 */
function measured(metric: IoMetric, point: Point): MetricPoint {
  const { read, write, totalRead, totalWrite } = point
  const elapsedSeconds = Math.max(0.001, (point.endedAt - point.startedAt) / 1000)
  const average = ({ operations, waitedMs }: typeof read) => (operations === 0 ? 0 : waitedMs / operations)
  const values: Readonly<Record<IoMetric, () => number>> = {
    reads: () => totalRead.operations,
    writes: () => totalWrite.operations,
    bytes_read: () => totalRead.bytes,
    bytes_written: () => totalWrite.bytes,
    iops_read: () => read.operations / elapsedSeconds,
    iops_write: () => write.operations / elapsedSeconds,
    thpt_read: () => read.bytes / elapsedSeconds,
    thpt_write: () => write.bytes / elapsedSeconds,
    lat_avg_read: () => average(read),
    lat_50_read: () => percentile(read, 0.5),
    lat_90_read: () => percentile(read, 0.9),
    lat_100_read: () => percentile(read, 1),
    lat_avg_write: () => average(write),
    lat_50_write: () => percentile(write, 0.5),
    lat_90_write: () => percentile(write, 0.9),
    lat_100_write: () => percentile(write, 1),
  }
  return { time: Math.floor(point.endedAt), value: values[metric]() }
}
