import { type Static, Type } from 'typebox'
import { Uuid } from './common.ts'

/** A point in time of a volume, or of all volumes of an app instance. */
export const Snapshot = Type.Object({
  path: Type.String(),
  uuid: Type.String(),
  /** `"<seconds>.<nine digits>"`; a string in every version, and the key in the URL. */
  utc_ts: Type.String(),
  timestamp: Type.Optional(Type.String()),
  op_state: Type.String(),
  local: Type.Optional(Type.Boolean()),
  remote_providers: Type.Optional(Type.Array(Type.Unknown())),
  /** Sizes in bytes. */
  physical_size: Type.Optional(Type.Integer()),
  logical_size: Type.Optional(Type.Integer()),
  exclusive_size: Type.Optional(Type.Integer()),
  effective_size: Type.Optional(Type.Integer()),
  ts_version: Type.Optional(Type.String()),
  version: Type.Optional(Type.String()),
  app_structure: Type.Optional(Type.Unknown()),
})
export type Snapshot = Static<typeof Snapshot>

/** `uuid` makes the request repeatable: one that is taken is refused (400, code 15). */
export const CreateSnapshot = Type.Object({
  uuid: Type.Optional(Uuid),
  remote_provider_uuid: Type.Optional(Type.String()),
  type: Type.Optional(Type.String()),
})
export type CreateSnapshot = Static<typeof CreateSnapshot>
