import { type Static, type TSchema, Type } from 'typebox'

/** Patterns of names and ids. (EDF API specification, section 2.0.3.) */
export const namePattern = '^[a-zA-Z_][a-zA-Z0-9_.-]{2,63}$'
/** A UUID, in either case. */
export const uuidPattern = '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$'
/** App instances and tenants may also be named by a UUID or begin with a digit, as end users name volumes. */
export const nameOrUuidPattern = '^[a-zA-Z0-9_][a-zA-Z0-9_.:-]{0,127}$'

/** As `namePattern`. */
export const Name = Type.String({ pattern: namePattern })
/** As `nameOrUuidPattern`. */
export const NameOrUuid = Type.String({ pattern: nameOrUuidPattern })
/** As `uuidPattern`. */
export const Uuid = Type.String({ pattern: uuidPattern })
/** How something is; `causes` beside it says why. */
export const Health = Type.Enum(['unknown', 'ok', 'warning', 'critical'])
/** What an administrator wants; `op_state` says what is. */
export const AdminState = Type.Enum(['online', 'offline'])
/** Whether what was asked for is in place. */
export const DeploymentState = Type.Enum(['deployed', 'not_deployed', 'degraded', 'failed'])
export type AdminState = Static<typeof AdminState>
export type Health = Static<typeof Health>

/** A plain reference, `{"path": "/storage_nodes/<uuid>"}`. */
export const Reference = Type.Object({ path: Type.String() })
export type Reference = Static<typeof Reference>

/**
 * A reference that also tells where it leads: `path` as it was given, `resolved_path` and `resolved_tenant` of the
 * object found from the request's tenant upward. Unset is three empty strings, never null.
 */
export const ResolvedReference = Type.Object({
  path: Type.String(),
  resolved_path: Type.String(),
  resolved_tenant: Type.String(),
})
export type ResolvedReference = Static<typeof ResolvedReference>

/** How clients write a reference: an object, `{}` for "not given", or the bare path. */
export const ReferenceInput = Type.Union([
  Type.String(),
  Type.Object({ path: Type.Optional(Type.String()), Path: Type.Optional(Type.String()) }),
])
export type ReferenceInput = Static<typeof ReferenceInput>

/** How children are written: an array, or (v2) an object keyed by name. */
export function Children<Item extends TSchema>(item: Item) {
  return Type.Union([Type.Array(item), Type.Record(Type.String(), item)])
}

/** Query of every list. `filter` is an expression such as `match(name,.*abc.*)`; a leading `-` sorts downward. */
export const ListQuery = Type.Object({
  filter: Type.Optional(Type.String()),
  sort: Type.Optional(Type.String()),
  /** Items; 0 means the default page size. */
  limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000 })),
  offset: Type.Optional(Type.Integer({ minimum: 0 })),
})
export type ListQuery = Static<typeof ListQuery>

/** Beside `data` in lists: v2.1 says `total`, later versions page. */
export const ListMetadata = Type.Object({
  total: Type.Optional(Type.Integer()),
  total_count: Type.Optional(Type.Integer()),
  request_count: Type.Optional(Type.Integer()),
  limit: Type.Optional(Type.Integer()),
  offset: Type.Optional(Type.Integer()),
})
export type ListMetadata = Static<typeof ListMetadata>

/** The wrapper of every successful answer of v2.1 and later. */
export function Envelope<Data extends TSchema>(data: Data) {
  return Type.Object({
    tenant: Type.Optional(Type.String()),
    path: Type.Optional(Type.String()),
    version: Type.Optional(Type.String()),
    data,
    metadata: Type.Optional(ListMetadata),
    /** Milliseconds. */
    request_time: Type.Optional(Type.Integer()),
    complete: Type.Optional(Type.Boolean()),
  })
}

/** `PUT` on a collection of links: members, roles, the initiators of an ACL. */
export const Link = Type.Object({
  path: Type.Optional(Type.String()),
  Path: Type.Optional(Type.String()),
  op: Type.Enum(['add', 'remove']),
})
export type Link = Static<typeof Link>

/** Body of a `DELETE`. */
export const DeleteOptions = Type.Object({ force: Type.Optional(Type.Boolean()) })
export type DeleteOptions = Static<typeof DeleteOptions>
