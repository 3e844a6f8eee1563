import { type Static, Type } from 'typebox'
import { Reference } from './common.ts'

/** Who may log in to a storage instance. Elements are exactly `{"path": …}`. */
export const AclPolicy = Type.Object({
  path: Type.String(),
  initiators: Type.Array(Reference),
  initiator_groups: Type.Array(Reference),
})
export type AclPolicy = Static<typeof AclPolicy>

const entry = Type.Object({ path: Type.Optional(Type.String()), Path: Type.Optional(Type.String()) })

/** Each list that is present replaces the stored one. */
export const AclPolicyInput = Type.Object({
  initiators: Type.Optional(Type.Array(Type.Union([Type.String(), entry]))),
  initiator_groups: Type.Optional(Type.Array(Type.Union([Type.String(), entry]))),
})
export type AclPolicyInput = Static<typeof AclPolicyInput>
