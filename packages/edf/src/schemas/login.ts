import { type Static, Type } from 'typebox'

/** `PUT /login`. `remote_server` names an LDAP server; without it the user is local. */
export const Login = Type.Object({
  name: Type.String(),
  password: Type.String(),
  remote_server: Type.Optional(Type.String()),
})
export type Login = Static<typeof Login>

/** Answer to a login; not enveloped, in any version. */
export const LoginAnswer = Type.Object({
  key: Type.String({ minLength: 1 }),
  version: Type.Optional(Type.String()),
  request_time: Type.Optional(Type.Integer()),
})
export type LoginAnswer = Static<typeof LoginAnswer>

/** `GET /api_versions`, without a version in the path and without a session. */
export const ApiVersions = Type.Object({ api_versions: Type.Array(Type.String()) })
export type ApiVersions = Static<typeof ApiVersions>

/** `GET /userinfo`: the session's user. */
export const UserInfo = Type.Object({
  user_id: Type.String(),
  roles: Type.Array(Type.String()),
  tenant: Type.String(),
})
export type UserInfo = Static<typeof UserInfo>
