import { type Static, Type } from 'typebox'

/** A tenant; `path` is `/root` or `/root/<name>` and is what the `tenant` header carries. */
export const Tenant = Type.Object({
  path: Type.String(),
  name: Type.String(),
  tenant: Type.Optional(Type.String()),
  descr: Type.Optional(Type.String()),
  /** Empty for the root tenant. */
  parent_path: Type.Optional(Type.String()),
  /** Paths of the children (v2.1: objects). */
  subtenants: Type.Optional(Type.Array(Type.Unknown())),
  initiator_list_src: Type.Optional(Type.String()),
  mgmt_ips: Type.Optional(Type.Array(Type.Unknown())),
  quota: Type.Optional(Type.Unknown()),
  quota_status: Type.Optional(Type.Unknown()),
})
export type Tenant = Static<typeof Tenant>

/** `name` may be a path below the parent, as Cinder writes it. */
export const CreateTenant = Type.Object({
  name: Type.String({ pattern: '^[a-zA-Z0-9_][a-zA-Z0-9_./-]{0,127}$' }),
  descr: Type.Optional(Type.String()),
  parent_path: Type.Optional(Type.String()),
  force: Type.Optional(Type.Boolean()),
})
export type CreateTenant = Static<typeof CreateTenant>

/** What is left out stays. */
export const UpdateTenant = Type.Object({
  descr: Type.Optional(Type.String()),
  initiator_list_src: Type.Optional(Type.String()),
  mgmt_ips: Type.Optional(Type.Array(Type.Unknown())),
  quota: Type.Optional(Type.Unknown()),
})
export type UpdateTenant = Static<typeof UpdateTenant>
