import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { BackendError } from '../kernel/errors.ts'
import type { Identity } from '../kernel/http/request-context.ts'

const Named = Type.Object({ id: Type.String(), name: Type.String() })
const NamedInDomain = Type.Object({ id: Type.String(), name: Type.String(), domain: Named })

/** What we read of Keystone's answer; whatever else it says is ignored. */
const TokenAnswer = Type.Object({
  token: Type.Object({
    expires_at: Type.String(),
    user: NamedInDomain,
    project: Type.Optional(NamedInDomain),
    domain: Type.Optional(Named),
    system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
    roles: Type.Optional(Type.Array(Named)),
    catalog: Type.Optional(
      Type.Array(
        Type.Object({
          type: Type.String(),
          name: Type.Optional(Type.String()),
          endpoints: Type.Array(
            Type.Object({
              interface: Type.String(),
              region_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
              url: Type.String(),
            }),
          ),
        }),
      ),
    ),
  }),
})

export interface KeystoneToken {
  readonly identity: Identity
  readonly catalog: NonNullable<Static<typeof TokenAnswer>['token']['catalog']>
}

/** @throws BackendError when it is not what Keystone answers */
export function parseToken(answer: unknown, base: string): KeystoneToken {
  if (!Value.Check(TokenAnswer, answer)) {
    throw new BackendError(`Keystone at ${base} answered something that is not a token.`, { left: 'nothing' })
  }
  const { token } = answer
  const expiresAt = new Date(token.expires_at)
  if (Number.isNaN(expiresAt.getTime())) {
    throw new BackendError(`Keystone at ${base} answered a token without a time of expiry.`, {
      left: 'nothing',
    })
  }
  return {
    identity: {
      userId: token.user.id,
      userName: token.user.name,
      userDomainId: token.user.domain.id,
      projectId: token.project?.id,
      projectName: token.project?.name,
      projectDomainId: token.project?.domain.id,
      domainId: token.domain?.id,
      systemScope: token.system?.all === true,
      roles: (token.roles ?? []).map((role) => role.name.toLowerCase()),
      expiresAt,
    },
    catalog: token.catalog ?? [],
  }
}
