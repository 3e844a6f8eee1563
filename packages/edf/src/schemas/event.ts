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

/** Something that is wrong until it is cleared. Times as in `Event`. */
export const Alert = Type.Object({
  path: Type.String(),
  uuid: Type.String(),
  id: Type.String(),
  code: Type.String(),
  severity: Type.String(),
  description: Type.String(),
  message: Type.String(),
  tenant: Type.String(),
  object_path: Type.String(),
  time: Type.String(),
  last_seen_ts: Type.String(),
  repeat_count: Type.Integer(),
  cleared: Type.Boolean(),
})
export type Alert = Static<typeof Alert>

/** `PUT /alerts/{uuid}`. */
export const UpdateAlert = Type.Object({ cleared: Type.Optional(Type.Boolean()) })
export type UpdateAlert = Static<typeof UpdateAlert>
