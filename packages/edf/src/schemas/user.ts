import { type Static, Type } from 'typebox'
import { Reference, ReferenceInput } from './common.ts'

/** An account of the array; the password is write-only. */
export const User = Type.Object({
  path: Type.String(),
  user_id: Type.String(),
  full_name: Type.String(),
  password: Type.Optional(Type.String()),
  email: Type.String(),
  enabled: Type.Boolean(),
  roles: Type.Array(Reference),
  tenants: Type.Array(Reference),
  version: Type.Optional(Type.String()),
})
export type User = Static<typeof User>

const password = Type.String({ minLength: 3, maxLength: 128 })

/** `roles` and `tenants` are paths; without `tenants` the root tenant. */
export const CreateUser = Type.Object({
  user_id: Type.String({ pattern: '^[a-zA-Z0-9_]{3,32}$' }),
  full_name: Type.String({ maxLength: 128 }),
  password,
  email: Type.Optional(Type.String({ maxLength: 255 })),
  enabled: Type.Optional(Type.Boolean()),
  roles: Type.Optional(Type.Array(ReferenceInput)),
  tenants: Type.Optional(Type.Array(ReferenceInput)),
})
export type CreateUser = Static<typeof CreateUser>

/** What is left out stays. */
export const UpdateUser = Type.Object({
  full_name: Type.Optional(Type.String({ maxLength: 128 })),
  password: Type.Optional(password),
  email: Type.Optional(Type.String({ maxLength: 255 })),
  enabled: Type.Optional(Type.Boolean()),
  roles: Type.Optional(Type.Array(ReferenceInput)),
  tenants: Type.Optional(Type.Array(ReferenceInput)),
})
export type UpdateUser = Static<typeof UpdateUser>

/** A named set of privileges. */
export const Role = Type.Object({
  path: Type.String(),
  role_id: Type.String(),
  privileges: Type.Array(Type.String()),
})
export type Role = Static<typeof Role>
