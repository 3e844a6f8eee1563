import { createHash, randomBytes } from 'node:crypto'

export type Privilege = 'read' | 'write' | 'administrate'

export interface SessionUser {
  readonly userId: string
  /** Tenants that the user may act in, with all below them; the first is home. */
  readonly tenants: readonly string[]
  readonly roles: readonly string[]
  readonly privileges: ReadonlySet<Privilege>
}

interface Session {
  readonly user: SessionUser
  expiresAt: number
}

/** Enough for clients that log in before every request; the longest unused one goes first. */
const maximumSessions = 50_000

/**
 * Keys that were handed out, kept as digests, in memory: after a restart everyone logs in again, which every client
 * does by itself. A session lives for `lifetimeMs` after its last use; a new login leaves older ones alone.
 */
export class Sessions {
  readonly #sessions = new Map<string, Session>()
  readonly #lifetimeMs: number
  readonly #now: () => number

  constructor(lifetimeMs = 15 * 60_000, now: () => number = Date.now) {
    this.#lifetimeMs = lifetimeMs
    this.#now = now
  }

  open(user: SessionUser): string {
    this.#prune()
    const key = randomBytes(24).toString('hex')
    this.#sessions.set(digest(key), { user, expiresAt: this.#now() + this.#lifetimeMs })
    return key
  }

  /** The session's user, and its life prolonged; undefined when the key is unknown or has expired. */
  use(key: string): SessionUser | undefined {
    const id = digest(key)
    const session = this.#sessions.get(id)
    if (session === undefined) return undefined
    this.#sessions.delete(id)
    if (session.expiresAt <= this.#now()) return undefined
    session.expiresAt = this.#now() + this.#lifetimeMs
    this.#sessions.set(id, session)
    return session.user
  }

  close(key: string): void {
    this.#sessions.delete(digest(key))
  }

  /** Ends every session of a user: after a change of password, rights or state. */
  closeAllOf(userId: string): void {
    for (const [id, session] of this.#sessions) {
      if (session.user.userId === userId) this.#sessions.delete(id)
    }
  }

  /** Sessions are in order of their last use, so the expired ones come first. */
  #prune(): void {
    const now = this.#now()
    for (const [id, session] of this.#sessions) {
      if (session.expiresAt > now && this.#sessions.size < maximumSessions) break
      this.#sessions.delete(id)
    }
  }
}

function digest(key: string): string {
  return createHash('sha256').update(key).digest('base64url')
}
