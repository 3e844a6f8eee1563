import { type Static, Type } from 'typebox'

/** An object store that holds copies of snapshots. Secrets are never returned. v2.2. */
export const RemoteProvider = Type.Object({
  path: Type.String(),
  uuid: Type.String(),
  remote_type: Type.String(),
  host: Type.Optional(Type.String()),
  port: Type.Optional(Type.Integer()),
  label: Type.Optional(Type.String()),
  account_id: Type.Optional(Type.String()),
  project_name: Type.Optional(Type.String()),
  status: Type.String(),
  last_seen_timestamp: Type.String(),
  operations: Type.Array(Type.Unknown()),
  snapshots: Type.Array(Type.Unknown()),
})
export type RemoteProvider = Static<typeof RemoteProvider>
