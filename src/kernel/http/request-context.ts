/** Who asks, as Keystone's token says. Ids are 32 hexadecimal digits, or a UUID, or `default`. */
export interface Identity {
  readonly userId: string
  readonly userName: string
  readonly userDomainId: string
  /** The project the token is scoped to; absent for an unscoped, domain or system token. */
  readonly projectId: string | undefined
  readonly projectName: string | undefined
  readonly projectDomainId: string | undefined
  readonly domainId: string | undefined
  readonly systemScope: boolean
  /** Role names, lower case. */
  readonly roles: readonly string[]
  readonly expiresAt: Date
}

/** Checks a token. Each API is given one: the identity service in this process, or a client of a Keystone. */
export interface TokenValidator {
  /** @throws Unauthenticated when the token is unknown, revoked or expired; BackendError when nobody can tell */
  validate(token: string, signal: AbortSignal): Promise<Identity>
}

/** What accompanies a request through an API: who, and which request. */
export interface RequestContext {
  /** `req-<uuid>`, answered as `X-Openstack-Request-Id`. */
  readonly requestId: string
  readonly identity: Identity
  /** Has the `admin` role. */
  readonly isAdmin: boolean
  /** The caller's token, for calls to other services on the caller's behalf. */
  readonly token: string
}
