import { type Static, Type } from 'typebox'

/** Of volumes and what is above them: counts, bytes, per second (`iops_`, `thpt_`), latencies (`lat_`). */
export const ioMetrics = [
  'reads',
  'writes',
  'bytes_read',
  'bytes_written',
  'iops_read',
  'iops_write',
  'thpt_read',
  'thpt_write',
  'lat_avg_read',
  'lat_avg_write',
  'lat_50_read',
  'lat_90_read',
  'lat_100_read',
  'lat_50_write',
  'lat_90_write',
  'lat_100_write',
] as const
/** Of a storage node; percent. */
export const hwMetrics = ['cpu_usage'] as const
/** Name of a metric of I/O. */
export type IoMetric = (typeof ioMetrics)[number]
/** Name of a metric of hardware. */
export type HwMetric = (typeof hwMetrics)[number]

/** `time` is UNIX milliseconds, as dbmp's README shows them. */
export const MetricPoint = Type.Object({ time: Type.Integer(), value: Type.Number() })
export type MetricPoint = Static<typeof MetricPoint>

/** `GET /metrics/{io,hw}/{metric}`: one per object. */
export const MetricSeries = Type.Object({
  entity_path: Type.String(),
  tenant: Type.String(),
  points: Type.Array(MetricPoint),
})
export type MetricSeries = Static<typeof MetricSeries>

/** `GET /metrics/{io,hw}/{metric}/latest`: one per object. */
export const MetricLatest = Type.Object({
  entity_path: Type.String(),
  tenant: Type.String(),
  point: MetricPoint,
})
export type MetricLatest = Static<typeof MetricLatest>

/** From the query, or from a JSON body of the GET. */
export const MetricQuery = Type.Object({
  since: Type.Optional(Type.String()),
  from: Type.Optional(Type.String()),
  to: Type.Optional(Type.String()),
  ival: Type.Optional(Type.String()),
  uuid: Type.Optional(Type.String()),
  path: Type.Optional(Type.String()),
})
export type MetricQuery = Static<typeof MetricQuery>
