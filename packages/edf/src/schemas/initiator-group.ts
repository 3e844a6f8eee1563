import { type Static, Type } from 'typebox'
import { Name, Reference } from './common.ts'

/** Initiators under one name; an ACL that names the group follows its members. */
export const InitiatorGroup = Type.Object({
  path: Type.String(),
  name: Type.String(),
  tenant: Type.Optional(Type.String()),
  members: Type.Array(Reference),
})
export type InitiatorGroup = Static<typeof InitiatorGroup>

const members = Type.Array(
  Type.Union([
    Type.String(),
    Type.Object({ path: Type.Optional(Type.String()), Path: Type.Optional(Type.String()) }),
  ]),
)

/** Members are initiators, as paths. */
export const CreateInitiatorGroup = Type.Object({
  name: Name,
  members: Type.Optional(members),
  force: Type.Optional(Type.Boolean()),
})
export type CreateInitiatorGroup = Static<typeof CreateInitiatorGroup>

/** `members` replaces the stored ones. */
export const UpdateInitiatorGroup = Type.Object({ members: Type.Optional(members) })
export type UpdateInitiatorGroup = Static<typeof UpdateInitiatorGroup>
