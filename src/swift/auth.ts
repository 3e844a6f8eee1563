import { Agent, request } from 'undici'
import {
  type CatalogEntry,
  type KeystoneCredentials,
  type KeystoneSession,
  keystoneSession,
} from '../clients/keystone.ts'
import { BackendError, messageOf, Unauthenticated } from '../kernel/errors.ts'
import type { Secret } from '../kernel/secret.ts'
import { connectOptions, type TlsTrust } from '../kernel/tls-trust.ts'

/** A new token is fetched when the old one has less than this left, in milliseconds. */
const defaultRenewBeforeMs = 60_000
/** How long one answer to a login may take, in milliseconds. */
const loginTimeoutMs = 30_000

/** Where an account is, and what opens it. */
export interface SwiftAccess {
  /** Of the account, without a slash at the end. */
  readonly storageUrl: string
  readonly token: string
}

/** A login to one account of a Swift. */
export interface SwiftAuth {
  /**
   * @param refused a token that Swift did not accept: another one is fetched
   * @throws Unauthenticated when the credentials are wrong; BackendError when nobody can be asked
   */
  access(signal: AbortSignal, refused?: string): Promise<SwiftAccess>
}

/** The account of a token that somebody has. It cannot be renewed. */
export function fixedSwiftAuth(access: SwiftAccess): SwiftAuth {
  const storageUrl = access.storageUrl.replace(/\/+$/, '')
  return {
    async access(_signal, refused) {
      if (refused === access.token) throw new Unauthenticated('Swift does not accept the token.')
      return { storageUrl, token: access.token }
    },
  }
}

/**
 * An account that Keystone knows: of the catalog, unless its URL is given.
 * @param options.service of the catalog; `object-store` and `public` by default
 */
export function keystoneSwiftAuth(options: {
  session: KeystoneSession
  storageUrl?: string | undefined
  service?: Partial<CatalogEntry>
}): SwiftAuth {
  const { session } = options
  return {
    async access(signal, refused) {
      const token = await (refused === undefined ? session.token(signal) : session.renewed(refused, signal))
      const storageUrl =
        options.storageUrl ?? (await session.endpoint({ type: 'object-store', ...options.service }, signal))
      return { storageUrl: storageUrl.replace(/\/+$/, ''), token }
    },
  }
}

/** As `keystoneSwiftAuth`, with a login of one's own. @param options.authUrl Keystone's, with or without `/v3` */
export function keystoneSwiftLogin(options: {
  authUrl: string
  credentials: KeystoneCredentials
  service?: Partial<CatalogEntry>
  trust: TlsTrust
}): SwiftAuth {
  return keystoneSwiftAuth({ ...options, session: keystoneSession(options) })
}

/**
 * Swift's own login, version 1.
 * @param options.authUrl `http://host:port/auth/v1.0`
 * @param options.user `account:user`
 */
export function swiftAuthV1(options: {
  authUrl: string
  user: string
  key: Secret
  /** Instead of the one that the login answers. */
  storageUrl?: string | undefined
  trust?: TlsTrust | undefined
  renewBeforeMs?: number
  now?: () => number
}): SwiftAuth {
  const now = options.now ?? Date.now
  const renewBeforeMs = options.renewBeforeMs ?? defaultRenewBeforeMs
  const agent = new Agent({ connect: connectOptions(options.trust ?? { verify: true }) })
  let current: (SwiftAccess & { readonly expiresAtMs: number }) | undefined
  let fetching: Promise<SwiftAccess & { readonly expiresAtMs: number }> | undefined

  async function logIn() {
    const { statusCode, headers, body } = await request(options.authUrl, {
      dispatcher: agent,
      headers: { 'x-auth-user': options.user, 'x-auth-key': options.key.reveal() },
      headersTimeout: loginTimeoutMs,
      bodyTimeout: loginTimeoutMs,
    }).catch((cause: unknown) => {
      throw new BackendError(`Swift's login at ${options.authUrl} cannot be asked: ${messageOf(cause)}`, {
        left: 'nothing',
        retryAfterMs: 1_000,
        cause,
      })
    })
    await body.dump()
    if (statusCode === 401 || statusCode === 403) {
      throw new Unauthenticated(`Swift at ${options.authUrl} does not accept the key of '${options.user}'.`)
    }
    const token = headers['x-auth-token']
    const storageUrl = options.storageUrl ?? headers['x-storage-url']
    if (statusCode >= 300 || typeof token !== 'string' || typeof storageUrl !== 'string') {
      throw new BackendError(`Swift's login at ${options.authUrl} answered ${statusCode}.`, {
        left: 'nothing',
        ...(statusCode >= 500 ? { retryAfterMs: 1_000 } : {}),
      })
    }
    const expiresInSeconds = Number(headers['x-auth-token-expires'] ?? Number.NaN)
    const expiresAtMs = Number.isFinite(expiresInSeconds) ? now() + expiresInSeconds * 1000 : Infinity
    return { storageUrl: storageUrl.replace(/\/+$/, ''), token, expiresAtMs }
  }

  return {
    async access(signal, refused) {
      signal.throwIfAborted()
      if (current?.token === refused) current = undefined
      if (current !== undefined && current.expiresAtMs - now() > renewBeforeMs) return current
      // shared, and so without the signal of one of those who wait
      fetching ??= logIn().finally(() => {
        fetching = undefined
      })
      current = await fetching
      signal.throwIfAborted()
      return current
    },
  }
}
