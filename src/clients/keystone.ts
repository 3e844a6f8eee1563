import { LRUCache } from 'lru-cache'
import { fetch, type RequestInit, type Response } from 'undici'
import { BackendError, messageOf, Unauthenticated } from '../kernel/errors.ts'
import type { Identity, TokenValidator } from '../kernel/http/request-context.ts'
import type { Secret } from '../kernel/secret.ts'
import { type KeystoneToken, parseToken } from './keystone-token.ts'

/** A new token is fetched when the old one has less than this left, in milliseconds. */
const renewBeforeMs = 120_000
/** How long one answer of Keystone may take, in milliseconds. */
const requestTimeoutMs = 30_000
const maxValidatedTokens = 10_000
const retryAfterMs = 1_000

/** What a service logs in with: the `[keystone_authtoken]` and `[service_user]` options of that name. */
export interface KeystoneCredentials {
  readonly username: string
  readonly password: Secret
  readonly userDomainName: string
  readonly projectName: string
  readonly projectDomainName: string
}

/** A login that lasts: one token, fetched when needed, shared by everybody, renewed before it expires. */
export interface KeystoneSession {
  /** @throws Unauthenticated when the credentials are wrong; BackendError when Keystone cannot be reached */
  token(signal: AbortSignal): Promise<string>
  /**
   * The public endpoint of a service from the catalog; without a slash at the end.
   * @throws BackendError when the catalog has none
   */
  endpoint(
    service: {
      readonly type: string
      readonly name?: string
      readonly interface?: string
      readonly region?: string
    },
    signal: AbortSignal,
  ): Promise<string>
  /**
   * Calls another service with the session's token; a 401 fetches a new token and tries once more. The answer
   * is the service's, whatever its status.
   * @param init.body must be repeatable, and so no stream
   */
  fetch(url: string, init: SessionRequest): Promise<Response>
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
  now?: () => number
}): KeystoneSession {
  const now = options.now ?? Date.now
  const base = versioned(options.authUrl)
  let current: (KeystoneToken & { readonly token: string }) | undefined
  let fetching: Promise<KeystoneToken & { readonly token: string }> | undefined

  async function logIn(): Promise<KeystoneToken & { readonly token: string }> {
    const { credentials } = options
    const body = {
      auth: {
        identity: {
          methods: ['password'],
          password: {
            user: {
              name: credentials.username,
              password: credentials.password.reveal(),
              domain: { name: credentials.userDomainName },
            },
          },
        },
        scope: {
          project: { name: credentials.projectName, domain: { name: credentials.projectDomainName } },
        },
      },
    }
    const response = await ask(`${base}/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (response.status === 401) {
      await response.body?.cancel()
      throw new Unauthenticated(
        `Keystone at ${base} does not accept the credentials of '${credentials.username}'.`,
      )
    }
    const token = response.headers.get('x-subject-token')
    if (response.status !== 201 || token === null) throw await unexpectedAnswer(response, base)
    return { ...parseToken(await readJson(response, base), base), token }
  }

  async function logged(signal: AbortSignal): Promise<KeystoneToken & { readonly token: string }> {
    signal.throwIfAborted()
    if (current !== undefined && current.identity.expiresAt.getTime() - now() > renewBeforeMs) return current
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

  return {
    token: async (signal) => (await logged(signal)).token,
    async endpoint(service, signal) {
      const { catalog } = await logged(signal)
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
    },
    async fetch(url, init) {
      const send = async (token: string) =>
        fetch(url, { ...init, headers: { ...init.headers, 'x-auth-token': token } })
      const { token } = await logged(init.signal)
      const response = await send(token)
      if (response.status !== 401) return response
      await response.body?.cancel()
      if (current?.token === token) current = undefined
      return send((await logged(init.signal)).token)
    },
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
