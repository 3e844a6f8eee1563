import { type Static, Type } from 'typebox'
import { Name } from './common.ts'

/** How often a snapshot is taken. */
export const SnapshotInterval = Type.Enum([
  '1min',
  '2min',
  '15min',
  '1hour',
  '1day',
  '1week',
  '1month',
  '1year',
])
export type SnapshotInterval = Static<typeof SnapshotInterval>

/** Takes snapshots on schedule and keeps the last `retention_count` of them. */
export const SnapshotPolicy = Type.Object({
  path: Type.String(),
  name: Type.String(),
  interval: Type.String(),
  retention_count: Type.Integer(),
  /** ISO 8601. */
  start_time: Type.String(),
  remote_provider_uuid: Type.Optional(Type.String()),
  type: Type.Optional(Type.String()),
})
export type SnapshotPolicy = Static<typeof SnapshotPolicy>

/** `retention_count` is in snapshots; `start_time` ISO 8601, by default now. */
export const CreateSnapshotPolicy = Type.Object({
  name: Name,
  interval: SnapshotInterval,
  retention_count: Type.Integer({ minimum: 1, maximum: 256 }),
  start_time: Type.Optional(Type.String()),
  remote_provider_uuid: Type.Optional(Type.String()),
  type: Type.Optional(Type.String()),
})
export type CreateSnapshotPolicy = Static<typeof CreateSnapshotPolicy>

/** A `name` that is an interval is taken as the interval: the Go SDK writes it under the wrong key. */
export const UpdateSnapshotPolicy = Type.Object({
  name: Type.Optional(Type.String()),
  interval: Type.Optional(SnapshotInterval),
  retention_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 256 })),
  start_time: Type.Optional(Type.String()),
})
export type UpdateSnapshotPolicy = Static<typeof UpdateSnapshotPolicy>
