import { type Static, Type } from 'typebox'

/** What kind of object store. */
export const RemoteType = Type.Enum(['AWS S3', 'Google Cloud', 'S3 Object Store'])

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

const attributes = {
  host: Type.Optional(Type.String()),
  port: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
  label: Type.Optional(Type.String()),
  account_id: Type.Optional(Type.String()),
  project_name: Type.Optional(Type.String()),
  access_key: Type.Optional(Type.String()),
  secret_key: Type.Optional(Type.String()),
  private_key: Type.Optional(Type.String()),
}

/** `access_key`, `secret_key` and `private_key` are secrets. */
export const CreateRemoteProvider = Type.Object({ ...attributes, remote_type: RemoteType })
export type CreateRemoteProvider = Static<typeof CreateRemoteProvider>

/** What is left out stays. */
export const UpdateRemoteProvider = Type.Object({ ...attributes, remote_type: Type.Optional(RemoteType) })
export type UpdateRemoteProvider = Static<typeof UpdateRemoteProvider>
