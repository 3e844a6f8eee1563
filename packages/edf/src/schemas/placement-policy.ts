import { type Static, Type } from 'typebox'
import { Name } from './common.ts'

/** Which media a volume may use. `max` and `min` are paths of media policies. Product 3.3, v2.2. */
export const PlacementPolicy = Type.Object({
  path: Type.String(),
  tenant: Type.Optional(Type.String()),
  name: Type.String(),
  descr: Type.Optional(Type.String()),
  max: Type.Array(Type.String()),
  min: Type.Array(Type.String()),
})
export type PlacementPolicy = Static<typeof PlacementPolicy>

/** `max` and `min` are paths of media policies. */
export const CreatePlacementPolicy = Type.Object({
  name: Name,
  descr: Type.Optional(Type.String()),
  max: Type.Optional(Type.Array(Type.String())),
  min: Type.Optional(Type.Array(Type.String())),
})
export type CreatePlacementPolicy = Static<typeof CreatePlacementPolicy>

/** What is left out stays. */
export const UpdatePlacementPolicy = Type.Object({
  descr: Type.Optional(Type.String()),
  max: Type.Optional(Type.Array(Type.String())),
  min: Type.Optional(Type.Array(Type.String())),
})
export type UpdatePlacementPolicy = Static<typeof UpdatePlacementPolicy>

/** A kind of medium, and its rank. */
export const MediaPolicy = Type.Object({
  path: Type.String(),
  tenant: Type.Optional(Type.String()),
  name: Type.String(),
  descr: Type.Optional(Type.String()),
  priority: Type.Integer(),
})
export type MediaPolicy = Static<typeof MediaPolicy>

/** `POST /media_policies`. */
export const CreateMediaPolicy = Type.Object({
  name: Name,
  descr: Type.Optional(Type.String()),
  priority: Type.Optional(Type.Integer()),
})
export type CreateMediaPolicy = Static<typeof CreateMediaPolicy>

/** What is left out stays. */
export const UpdateMediaPolicy = Type.Object({
  descr: Type.Optional(Type.String()),
  priority: Type.Optional(Type.Integer()),
})
export type UpdateMediaPolicy = Static<typeof UpdateMediaPolicy>
