import { LRUCache } from 'lru-cache'
import { Agent, fetch, type RequestInit, type Response } from 'undici'
import { BackendError, messageOf, Unauthenticated } from '../kernel/errors.ts'
import type { Identity, TokenValidator } from '../kernel/http/request-context.ts'
import type { Secret } from '../kernel/secret.ts'
import { connectOptions, type TlsTrust } from '../kernel/tls-trust.ts'
import { type KeystoneToken, parseToken } from './keystone-token.ts'

/** A new token is fetched when the old one has less than this left, in milliseconds. */
const renewBeforeMs = 120_000
/** How long one answer of Keystone may take, in milliseconds. */
const requestTimeoutMs = 30_000
const maxValidatedTokens = 10_000
const retryAfterMs = 1_000

/** What a service logs in with: the `[keystone_authtoken]` and `[service_user]` options of that name. */
export interface PasswordCredentials {
  readonly username: string
  readonly password: Secret
  readonly userDomainName: string
  /** Instead of the name. */
  readonly userDomainId?: string | undefined
  readonly projectName: string
  /** Instead of the name and its domain. */
  readonly projectId?: string | undefined
  readonly projectDomainName: string
  /** Instead of the name. */
  readonly projectDomainId?: string | undefined
}

/** An application credential, which says its user and project itself. */
export interface ApplicationCredentials {
  readonly applicationCredentialId: string
  readonly applicationCredentialSecret: Secret
}

export type KeystoneCredentials = PasswordCredentials | ApplicationCredentials

/** A login that lasts: one token, fetched when needed, shared by everybody, renewed before it expires. */
export interface KeystoneSession {
  /** @throws Unauthenticated when the credentials are wrong; BackendError when Keystone cannot be reached */
  token(signal: AbortSignal): Promise<string>
  /**
   * A token other than one that a service refused.
   * @throws Unauthenticated when there is none
   */
  renewed(refused: string, signal: AbortSignal): Promise<string>
  /**
   * The public endpoint of a service from the catalog; without a slash at the end.
   * @throws BackendError when the catalog has none
   */
  endpoint(service: CatalogEntry, signal: AbortSignal): Promise<string>
  /** The project that the token is for. @throws BackendError when it is for none */
  projectId(signal: AbortSignal): Promise<string>
  /**
   * Calls another service with the session's token; a 401 fetches a new token and tries once more. The answer
   * is the service's, whatever its status.
   * @param init.body must be repeatable, and so no stream
   */
  fetch(url: string, init: SessionRequest): Promise<Response>
}

/** A service as the catalog knows it. */
export interface CatalogEntry {
  readonly type: string
  readonly name?: string | undefined
  /** `public` unless it is said. */
  readonly interface?: string | undefined
  readonly region?: string | undefined
}

export interface SessionRequest {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array<ArrayBuffer>
  readonly signal: AbortSignal
}

/** @param options.authUrl with or without the `/v3` at its end */
export function keystoneSession(options: {
  authUrl: string
  credentials: KeystoneCredentials
  trust?: TlsTrust
  /** Least validity of a token that is handed out, in milliseconds. */
  renewBeforeMs?: number
  now?: () => number
}): KeystoneSession {
  const now = options.now ?? Date.now
  const marginMs = options.renewBeforeMs ?? renewBeforeMs
  const base = versioned(options.authUrl)
  const dispatcher = dispatcherFor(options.trust)
  let current: (KeystoneToken & { readonly token: string }) | undefined
  let fetching: Promise<KeystoneToken & { readonly token: string }> | undefined

  async function logIn(): Promise<KeystoneToken & { readonly token: string }> {
    const { credentials } = options
    const response = await ask(`${base}/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth: authBody(credentials) }),
      ...dispatcher,
    })
    if (response.status === 401) {
      await response.body?.cancel()
      const who =
        'username' in credentials
          ? `the credentials of '${credentials.username}'`
          : 'the application credential'
      throw new Unauthenticated(`Keystone at ${base} does not accept ${who}.`)
    }
    const token = response.headers.get('x-subject-token')
    if (response.status !== 201 || token === null) throw await unexpectedAnswer(response, base)
    return { ...parseToken(await readJson(response, base), base), token }
  }

  async function logged(signal: AbortSignal): Promise<KeystoneToken & { readonly token: string }> {
    signal.throwIfAborted()
    if (current !== undefined && current.identity.expiresAt.getTime() - now() > marginMs) return current
    // shared: one caller's signal must not take the login away from the others
    fetching ??= logIn()
      .then((token) => {
        current = token
        return token
      })
      .finally(() => {
        fetching = undefined
      })
    return orAborted(fetching, signal)
  }

  async function renewed(refused: string, signal: AbortSignal) {
    if (current?.token === refused) current = undefined
    return await logged(signal)
  }

  return {
    token: async (signal) => (await logged(signal)).token,
    renewed: async (refused, signal) => (await renewed(refused, signal)).token,
    projectId: async (signal) => projectOf(await logged(signal)),
    endpoint: async (service, signal) => endpointIn((await logged(signal)).catalog, service),
    async fetch(url, init) {
      const send = async (token: string) =>
        fetch(url, { ...init, ...dispatcher, headers: { ...init.headers, 'x-auth-token': token } })
      const { token } = await logged(init.signal)
      const response = await send(token)
      if (response.status !== 401) return response
      await response.body?.cancel()
      return send((await renewed(token, init.signal)).token)
    },
  }
}

/**
 * A session with a token that somebody else has: a user's, for calls on the user's behalf. It cannot be renewed.
 * @param options.authUrl with or without the `/v3` at its end
 */
export function keystoneTokenSession(options: {
  authUrl: string
  token: string
  trust?: TlsTrust
}): KeystoneSession {
  const base = versioned(options.authUrl)
  const dispatcher = dispatcherFor(options.trust)
  const { token } = options
  let described: Promise<KeystoneToken> | undefined

  async function describe(): Promise<KeystoneToken> {
    const response = await ask(`${base}/auth/tokens`, {
      headers: { 'x-auth-token': token, 'x-subject-token': token },
      ...dispatcher,
    })
    if (response.status === 401 || response.status === 404) {
      await response.body?.cancel()
      throw new Unauthenticated('The token is not valid.')
    }
    if (response.status !== 200) throw await unexpectedAnswer(response, base)
    return parseToken(await readJson(response, base), base)
  }
  const known = (signal: AbortSignal) => {
    signal.throwIfAborted()
    described ??= describe()
    return orAborted(described, signal)
  }

  return {
    token: async () => token,
    async renewed() {
      throw new Unauthenticated("The requester's token is not valid any more.")
    },
    projectId: async (signal) => projectOf(await known(signal)),
    endpoint: async (service, signal) => endpointIn((await known(signal)).catalog, service),
    fetch: (url, init) =>
      fetch(url, { ...init, ...dispatcher, headers: { ...init.headers, 'x-auth-token': token } }),
  }
}

/**
 * Checks tokens against a Keystone elsewhere, as keystonemiddleware does: answers are kept for a while, so a
 * revoked token may be accepted that much longer.
 * @param options.cacheSeconds `[keystone_authtoken] token_cache_time`, 300 by default; -1 or 0 keeps nothing
 */
export function keystoneTokenValidator(options: {
  authUrl: string
  credentials: KeystoneCredentials
  cacheSeconds?: number
  now?: () => number
}): TokenValidator {
  const now = options.now ?? Date.now
  const session = keystoneSession(options)
  const base = versioned(options.authUrl)
  const cacheMs = (options.cacheSeconds ?? 300) * 1_000
  const kept = new LRUCache<string, { readonly identity: Identity; readonly until: number }>({
    max: maxValidatedTokens,
  })

  return {
    async validate(token, signal) {
      signal.throwIfAborted()
      const known = kept.get(token)
      if (known !== undefined && known.until > now()) return known.identity
      kept.delete(token)
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Unauthenticated('The token is not valid.')

      const response = await session
        .fetch(`${base}/auth/tokens?nocatalog`, {
          headers: { 'x-subject-token': token },
          signal: AbortSignal.any([signal, AbortSignal.timeout(requestTimeoutMs)]),
        })
        .catch((error: unknown) => {
          signal.throwIfAborted()
          // our own credentials being refused says nothing about the caller's token
          if (error instanceof BackendError) throw error
          throw unreachable(base, error)
        })
      if (response.status === 404) {
        await response.body?.cancel()
        throw new Unauthenticated('The token is not valid.')
      }
      if (response.status !== 200) throw await unexpectedAnswer(response, base)
      const { identity } = parseToken(await readJson(response, base), base)
      const expires = identity.expiresAt.getTime()
      if (expires <= now()) throw new Unauthenticated('The token has expired.')
      if (cacheMs > 0) kept.set(token, { identity, until: Math.min(expires, now() + cacheMs) })
      return identity
    },
  }
}

/** @see Identity API v3, Password authentication with scoped authorization; application credentials */
function authBody(credentials: KeystoneCredentials): object {
  if (!('username' in credentials)) {
    return {
      identity: {
        methods: ['application_credential'],
        application_credential: {
          id: credentials.applicationCredentialId,
          secret: credentials.applicationCredentialSecret.reveal(),
        },
      },
    }
  }
  const domain = (id: string | undefined, name: string) => (id === undefined ? { name } : { id })
  const { username, password, userDomainId, userDomainName } = credentials
  const { projectId, projectName, projectDomainId, projectDomainName } = credentials
  return {
    identity: {
      methods: ['password'],
      password: {
        user: {
          name: username,
          password: password.reveal(),
          domain: domain(userDomainId, userDomainName),
        },
      },
    },
    scope: {
      project:
        projectId === undefined
          ? { name: projectName, domain: domain(projectDomainId, projectDomainName) }
          : { id: projectId },
    },
  }
}

/** @throws BackendError when the catalog has no such endpoint */
function endpointIn(catalog: KeystoneToken['catalog'], service: CatalogEntry): string {
  const wanted = service.interface ?? 'public'
  for (const entry of catalog) {
    if (entry.type !== service.type) continue
    if (service.name !== undefined && entry.name !== service.name) continue
    for (const endpoint of entry.endpoints) {
      if (endpoint.interface !== wanted) continue
      if (service.region !== undefined && endpoint.region_id !== service.region) continue
      return endpoint.url.replace(/\/+$/, '')
    }
  }
  throw new BackendError(`The service catalog has no ${wanted} endpoint for '${service.type}'.`, {
    left: 'nothing',
  })
}

function projectOf({ identity }: KeystoneToken): string {
  if (identity.projectId !== undefined) return identity.projectId
  throw new BackendError('The token is not scoped to a project.', { left: 'nothing' })
}

function dispatcherFor(trust: TlsTrust | undefined): { dispatcher?: Agent } {
  return trust === undefined ? {} : { dispatcher: new Agent({ connect: connectOptions(trust) }) }
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(requestTimeoutMs) })
  } catch (error) {
    throw unreachable(url, error)
  }
}

async function readJson(response: Response, base: string): Promise<unknown> {
  try {
    return await response.json()
  } catch (error) {
    throw new BackendError(`Keystone at ${base} answered something that is not JSON.`, {
      left: 'nothing',
      cause: error,
    })
  }
}

function unreachable(base: string, cause: unknown): BackendError {
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return new BackendError(`Keystone at ${base} cannot be asked: ${messageOf(reason)}`, {
    left: 'nothing',
    retryAfterMs,
    cause,
  })
}

async function unexpectedAnswer(response: Response, base: string): Promise<BackendError> {
  await response.body?.cancel()
  return new BackendError(`Keystone at ${base} answered ${response.status}.`, {
    left: 'nothing',
    ...(response.status >= 500 && { retryAfterMs }),
    details: { status: response.status },
  })
}

function versioned(authUrl: string): string {
  const base = authUrl.replace(/\/+$/, '')
  return base.endsWith('/v3') ? base : `${base}/v3`
}

function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
