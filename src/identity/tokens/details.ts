/** A thing and its name, as tokens show it. */
export interface Named {
  readonly id: string
  readonly name: string
}

export interface NamedInDomain extends Named {
  readonly domain: Named
}

/** What a token is good for. */
export type Scope =
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project'; readonly project: NamedInDomain }
  | { readonly kind: 'domain'; readonly domain: Named }
  | { readonly kind: 'system' }

/** All that a valid token means at this moment: names, roles, scope are those of now, not of its issue. */
export interface TokenDetails {
  readonly digest: string
  readonly methods: readonly string[]
  readonly user: NamedInDomain
  readonly auditIds: readonly string[]
  readonly issuedAt: string
  readonly expiresAt: string
  readonly scope: Scope
  /** Implied ones included; never empty for a scoped token. */
  readonly roles: readonly Named[]
  readonly applicationCredential: (Named & { readonly restricted: boolean }) | undefined
}
