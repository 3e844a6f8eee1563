import { type Static, Type } from 'typebox'

/** `chap`: the initiator proves itself; `mchap`: the target, too; `access_keys`: object storage. */
export const AuthType = Type.Enum(['none', 'chap', 'mchap', 'access_keys'])
export type AuthType = Static<typeof AuthType>

/**
 * CHAP of a storage instance. `target_*` is what the initiator presents to the target; `initiator_*` is what the
 * target presents back (`mchap`). Secrets read as `(hidden)`.
 */
export const Auth = Type.Object({
  path: Type.Optional(Type.String()),
  type: Type.String(),
  target_user_name: Type.String(),
  target_pswd: Type.String(),
  initiator_user_name: Type.String(),
  initiator_pswd: Type.String(),
  access_key: Type.Optional(Type.String()),
  secret_key: Type.Optional(Type.String()),
})
export type Auth = Static<typeof Auth>

/** A secret written as `(hidden)` stays as it is. */
export const AuthInput = Type.Object({
  type: Type.Optional(AuthType),
  target_user_name: Type.Optional(Type.String({ maxLength: 255 })),
  target_pswd: Type.Optional(Type.String({ maxLength: 255 })),
  initiator_user_name: Type.Optional(Type.String({ maxLength: 255 })),
  initiator_pswd: Type.Optional(Type.String({ maxLength: 255 })),
  access_key: Type.Optional(Type.String({ maxLength: 255 })),
  secret_key: Type.Optional(Type.String({ maxLength: 255 })),
})
export type AuthInput = Static<typeof AuthInput>
