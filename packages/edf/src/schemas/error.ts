import { type Static, Type } from 'typebox'

/**
 * Body of every answer that is not 200. Not enveloped. (EDF API specification, section 1.11.) There is no `api_req_id`:
 * the Go SDK (1.x) declares it a string, older Docker drivers an integer, and both drop the message over the other type.
 */
export const ErrorBody = Type.Object({
  name: Type.String(),
  code: Type.Integer(),
  http: Type.Integer(),
  message: Type.String(),
  debug: Type.Optional(Type.String()),
  ts: Type.Optional(Type.String()),
  version: Type.Optional(Type.String()),
  op: Type.Optional(Type.String()),
  tenant: Type.Optional(Type.String()),
  path: Type.Optional(Type.String()),
  params: Type.Optional(Type.Record(Type.String(), Type.String())),
  connInfo: Type.Optional(Type.Record(Type.String(), Type.String())),
  client_id: Type.Optional(Type.String()),
  client_type: Type.Optional(Type.String()),
  tenancy_class: Type.Optional(Type.String()),
  errors: Type.Optional(Type.Array(Type.String())),
  schema: Type.Optional(Type.String()),
})
export type ErrorBody = Static<typeof ErrorBody>

/** Names that clients know. */
export type ErrorName =
  | 'AuthFailedError'
  | 'InvalidSessionKeyError'
  | 'PermissionDeniedError'
  | 'NotFoundError'
  | 'InvalidRouteError'
  | 'ConflictError'
  | 'ValidationFailedError'
  | 'InvalidRequestError'
  | 'NotConnectedError'
  | 'DatabaseError'
  | 'InternalError'

/** Numeric codes. Clients know 15 (duplicate snapshot) and 99 (version probe); the others are ours. */
export const errorCodes = {
  internal: 1,
  authentication: 2,
  notFound: 3,
  conflict: 4,
  validation: 5,
  invalidRequest: 6,
  permission: 7,
  notConnected: 8,
  duplicateSnapshot: 15,
  versionProbe: 99,
} as const

/** The exact text by which the Python SDK knows an expired session. */
export const invalidSessionMessage =
  'The key provided with the request does not correspond to a valid session.'
