import { type Static, Type } from 'typebox'

/** Something that happened to the system, or that a user did. */
export const Event = Type.Object({
  uuid: Type.String(),
  /** `"<seconds>.<nine digits>"`. */
  time: Type.String(),
  last_seen_ts: Type.String(),
  code: Type.String(),
  severity: Type.String(),
  description: Type.String(),
  message: Type.String(),
  context: Type.String(),
  debug: Type.String(),
  repeat_count: Type.Integer(),
  tenant: Type.String(),
  object_path: Type.String(),
})
export type Event = Static<typeof Event>
