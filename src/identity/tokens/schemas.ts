import { type Static, Type } from 'typebox'

const Domain = Type.Object({ id: Type.Optional(Type.String()), name: Type.Optional(Type.String()) })

/** A user or project: by id, or by name and domain. */
const Reference = Type.Object({
  id: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  domain: Type.Optional(Domain),
})

/** @see keystone/auth/schema.py token_issue */
export const IssueToken = Type.Object({
  auth: Type.Object({
    identity: Type.Object({
      methods: Type.Array(Type.String()),
      password: Type.Optional(
        Type.Object({
          user: Type.Object({
            id: Type.Optional(Type.String()),
            name: Type.Optional(Type.String()),
            domain: Type.Optional(Domain),
            password: Type.String(),
          }),
        }),
      ),
      token: Type.Optional(Type.Object({ id: Type.String() })),
      application_credential: Type.Optional(
        Type.Object({
          id: Type.Optional(Type.String()),
          name: Type.Optional(Type.String()),
          secret: Type.String(),
          user: Type.Optional(Reference),
        }),
      ),
    }),
    scope: Type.Optional(
      Type.Union([
        Type.Literal('unscoped'),
        Type.Object({
          project: Type.Optional(Reference),
          domain: Type.Optional(Domain),
          system: Type.Optional(Type.Object({ all: Type.Optional(Type.Boolean()) })),
          unscoped: Type.Optional(Type.Object({})),
        }),
      ]),
    ),
  }),
})

export type IssueTokenBody = Static<typeof IssueToken>
export type IdentityPart = IssueTokenBody['auth']['identity']
export type ScopePart = IssueTokenBody['auth']['scope']
export type ReferencePart = Static<typeof Reference>
export type DomainPart = Static<typeof Domain>
