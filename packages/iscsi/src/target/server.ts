/** The iSCSI target program: portals, targets, sessions. */
import { channel } from 'node:diagnostics_channel'
import { createServer, type Server, type Socket } from 'node:net'
import { BufferPool } from '../buffer-pool.ts'
import { IscsiError } from '../errors.ts'
import { type Chap, checkChap } from '../login/chap.ts'
import { PREFERRED, type SessionPreferences } from '../login/negotiate.ts'
import type { Admission, LoginOutcome } from '../login/target-login.ts'
import type { KeyValue } from '../login/text.ts'
import { LoginStatus } from '../pdu/login-response.ts'
import { nexusOf } from '../scsi/nexus.ts'
import { bounded } from './bounded.ts'
import { Connection, type ConnectionHost, type ConnectionTimeouts } from './connection.ts'
import { SlabPool } from './sender.ts'
import { Session } from './session.ts'
import { IscsiTarget, type Portal, type TargetConfig, type TargetServer } from './target.ts'

/** All have defaults. */
export interface IscsiServerOptions {
  /** What is negotiated at best; the defaults are large segments without R2T, and digests when they are offered. */
  readonly preferences?: Partial<SessionPreferences>
  /** Default: 15 s for a login, 10 s of silence before a ping, 10 s for its answer, no time to log out. */
  readonly timeouts?: Partial<ConnectionTimeouts>
  /**
   * What an initiator has to prove in a discovery session. Left out, it may prove any of the secrets it has with its
   * targets, or nothing: it is shown only targets that it may log in to anyway.
   */
  readonly discoveryChap?: Chap
  /** Connections in all. Default 4096. */
  readonly maxConnections?: number
  /** Connections from one address. Default 2048. */
  readonly maxConnectionsPerAddress?: number
  /** Connections that have not logged in yet. Default 512. */
  readonly maxPendingLogins?: number
  /** Of these, from one address. Default 128. */
  readonly maxPendingLoginsPerAddress?: number
  /** Bytes of unused buffers that are kept for reuse. Default 32 MiB. */
  readonly poolBytes?: number
  /** Bytes of all sessions' write data at a time; above it new writes are answered TASK SET FULL. Default 1 GiB. */
  readonly maxBufferedBytes?: number
}

/** A portal to listen at. */
export interface ListenOptions extends Portal {
  /** Portals with the same tag are one group, which has one ALUA state. 1 to 65535; default 1. */
  readonly portalGroupTag?: number
}

/** How long a target that is removed waits for its sessions. */
const CLOSE_MS = 10_000
const TICK_MS = 1000
/** Failed authentications of one address within a minute, after which it has to wait for each further refusal. */
const MAX_FAILURES = 10
const FAILURE_WINDOW_MS = 60_000
const FAILURE_DELAY_MS = 1000

/** Published to `node:diagnostics_channel` as `iscsi:target:login`, `:refused`, `:closed`. Never holds a secret. */
export interface TargetEvent {
  readonly remoteAddress: string
  readonly initiatorName?: string
  readonly targetName?: string | undefined
  readonly reason?: string
}

const loginChannel = channel('iscsi:target:login')
const refusedChannel = channel('iscsi:target:refused')
const closedChannel = channel('iscsi:target:closed')

/**
 * A target program: portals that listen, and targets behind all of them (RFC 7143). Devices are closed by whoever
 * opened them, after the server. Publishes `TargetEvent`s, and logs nothing.
 */
export class IscsiServer implements AsyncDisposable, ConnectionHost, TargetServer {
  readonly preferences: SessionPreferences
  readonly timeouts: ConnectionTimeouts
  readonly slabs = new SlabPool()
  readonly #pool: BufferPool
  readonly #discoveryChap: Chap | undefined
  readonly #maxConnections: number
  readonly #maxPerAddress: number
  readonly #maxPending: number
  readonly #maxPendingPerAddress: number
  readonly #listeners: { readonly server: Server; readonly portal: Portal; readonly tag: number }[] = []
  readonly #targets = new Map<string, IscsiTarget>()
  readonly #connections = new Set<Connection>()
  readonly #failures = new Map<string, { count: number; since: number }>()
  #timer: NodeJS.Timeout | undefined
  #tsih = 0
  #closing = false

  constructor(options: IscsiServerOptions = {}) {
    this.preferences = { ...PREFERRED, headerDigest: true, dataDigest: true, ...options.preferences }
    this.timeouts = { loginMs: 15_000, idleMs: 10_000, answerMs: 10_000, logoutMs: 0, ...options.timeouts }
    if (options.discoveryChap) checkChap(options.discoveryChap)
    this.#discoveryChap = options.discoveryChap
    this.#maxConnections = options.maxConnections ?? 4096
    this.#maxPerAddress = options.maxConnectionsPerAddress ?? 2048
    this.#maxPending = options.maxPendingLogins ?? 512
    this.#maxPendingPerAddress = options.maxPendingLoginsPerAddress ?? 128
    this.#pool = new BufferPool(options.poolBytes ?? 32 * 1048576, options.maxBufferedBytes ?? 1073741824)
  }

  /**
   * Opens a portal; may be called several times. Port 0 takes any free one.
   * @returns the address and port it got
   * @throws the error of the socket (EADDRINUSE, EACCES, …); IscsiError `closed` when the server is closing
   */
  async listen(portal: ListenOptions): Promise<Portal> {
    if (this.#closing) throw new IscsiError('closed', 'the server is closing')
    const tag = portal.portalGroupTag ?? 1
    if (!Number.isInteger(tag) || tag < 1 || tag > 0xffff) {
      throw new IscsiError('invalid', `portal group tag ${tag} is not 1..65535`)
    }
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket, tag))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: portal.host, port: portal.port }, resolve)
    })
    // An error of one accept (no more file descriptors) must not end the process.
    server.on('error', () => {})
    const address = server.address()
    const bound =
      typeof address === 'object' && address !== null ? { host: address.address, port: address.port } : portal
    this.#listeners.push({ server, portal: bound, tag })
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref()
    return bound
  }

  /**
   * Makes a target, without LUNs yet; it takes logins at once.
   * @throws IscsiError `invalid` when the name is taken, or something of the configuration is wrong
   */
  addTarget(config: TargetConfig): IscsiTarget {
    const target = new IscsiTarget(config, this)
    if (this.#targets.has(target.name))
      throw new IscsiError('invalid', `there is a target ${target.name} already`)
    this.#targets.set(target.name, target)
    return target
  }

  /** By its name, without regard to case. */
  target(name: string): IscsiTarget | undefined {
    return this.#targets.get(name.toLowerCase())
  }

  targets(): readonly IscsiTarget[] {
    return [...this.#targets.values()]
  }

  portalGroupTags(): readonly number[] {
    return [...new Set(this.#listeners.map(({ tag }) => tag))].sort((a, b) => a - b)
  }

  /** No new logins at once; resolves when its sessions and their I/O have ended, or after ten seconds. */
  async removeTarget(name: string): Promise<void> {
    const target = this.target(name)
    if (!target) return
    this.#targets.delete(target.name)
    await bounded(target.closeSessions('the target was removed', this.timeouts.logoutMs), CLOSE_MS)
  }

  /** Stops listening and ends all sessions; waits for their I/O, at most ten seconds. */
  async close(): Promise<void> {
    this.#closing = true
    clearInterval(this.#timer)
    this.#timer = undefined
    const stopped = this.#listeners
      .splice(0)
      .map(({ server }) => new Promise((resolve) => server.close(resolve)))
    const sessions = [...this.#connections].map(async (connection) => {
      if (connection.session) await connection.session.close('the server is stopping', this.timeouts.logoutMs)
      else connection.drop('the server is stopping')
    })
    await bounded(Promise.all(sessions), CLOSE_MS)
    for (const connection of this.#connections) connection.drop('the server has stopped')
    await Promise.all(stopped)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // --- for connections ---

  admit(initiatorName: string, targetName: string | undefined, portalGroupTag: number): Admission {
    if (targetName === undefined) {
      if (this.#discoveryChap)
        return { status: LoginStatus.success, chap: [this.#discoveryChap], mustProve: true }
      const chap = this.#visible(initiatorName).flatMap((target) => target.chapOf(initiatorName) ?? [])
      return { status: LoginStatus.success, chap }
    }
    const target = this.#targets.get(targetName)
    if (!target) return { status: LoginStatus.notFound, chap: [] }
    if (!target.admits(initiatorName)) return { status: LoginStatus.authorizationFailed, chap: [] }
    const chap = target.chapOf(initiatorName)
    return {
      status: LoginStatus.success,
      chap: chap ? [chap] : [],
      portalGroupTag,
      targetAlias: target.targetAlias,
    }
  }

  async begin(
    outcome: LoginOutcome,
    connection: Connection,
    numbers: { expCmdSn: number; statSn: number },
  ): Promise<Session> {
    const nexus = nexusOf(outcome.initiatorName, outcome.isid, connection.portalGroupTag)
    const target = outcome.targetName === undefined ? undefined : this.#targets.get(outcome.targetName)
    if (outcome.targetName !== undefined && !target) throw new IscsiError('closed', 'the target was removed')
    // Session reinstatement (RFC 7143 section 6.3.5): the old session ends before the new one begins.
    const old = target?.sessionOf(nexus.id)
    if (old) await bounded(old.close('the initiator logged in again'), CLOSE_MS)
    const session = new Session({
      link: connection,
      target,
      nexus,
      cid: outcome.cid,
      parameters: outcome.parameters,
      pool: this.#pool,
      ...numbers,
      sendTargets: (name) => this.#sendTargets(nexus.initiatorName, name, connection),
    })
    const { remoteAddress } = connection
    publish(loginChannel, { remoteAddress, initiatorName: nexus.initiatorName, targetName: target?.name })
    return session
  }

  nextTsih(): number {
    this.#tsih = (this.#tsih % 0xffff) + 1
    return this.#tsih
  }

  refused(connection: Connection, status: number): number {
    const { remoteAddress } = connection
    publish(refusedChannel, { remoteAddress, reason: `status ${status.toString(16).padStart(4, '0')}` })
    if (status !== LoginStatus.authenticationFailed) return 0
    const now = Date.now()
    const entry = this.#failures.get(remoteAddress)
    if (entry && now - entry.since < FAILURE_WINDOW_MS) entry.count += 1
    else this.#failures.set(remoteAddress, { count: 1, since: now })
    return entry && entry.count > MAX_FAILURES ? FAILURE_DELAY_MS : 0
  }

  closed(connection: Connection, reason: string): void {
    this.#connections.delete(connection)
    const { remoteAddress, session } = connection
    publish(closedChannel, {
      remoteAddress,
      reason,
      ...(session ? { initiatorName: session.nexus.initiatorName, targetName: session.target?.name } : {}),
    })
  }

  #visible(initiatorName: string): IscsiTarget[] {
    return [...this.#targets.values()].filter((target) => target.admits(initiatorName))
  }

  #sendTargets(initiatorName: string, name: string | undefined, connection: Connection): KeyValue[] {
    return this.#visible(initiatorName)
      .filter((target) => name === undefined || target.name === name)
      .flatMap((target): KeyValue[] => {
        const portals =
          target.portals?.map((portal) => ({ portal, tag: 1 })) ??
          this.#listeners.map(({ portal, tag }) => ({ portal, tag }))
        const addresses = portals.map(({ portal: { host, port }, tag }): KeyValue => {
          const any = host === '0.0.0.0' || host === '::'
          const address = any ? connection.localAddress.replace(/^::ffff:/, '') : host
          return ['TargetAddress', `${address.includes(':') ? `[${address}]` : address}:${port},${tag}`]
        })
        return [['TargetName', target.name], ...addresses]
      })
  }

  #accept(socket: Socket, portalGroupTag: number): void {
    const address = socket.remoteAddress ?? ''
    if (this.#closing || this.#isFullFor(address)) {
      publish(refusedChannel, { remoteAddress: address, reason: 'too many connections' })
      socket.destroy()
      return
    }
    this.#connections.add(new Connection(socket, this, portalGroupTag, Date.now()))
  }

  #isFullFor(address: string): boolean {
    let [pending, fromThere, pendingFromThere] = [0, 0, 0]
    for (const connection of this.#connections) {
      const isPending = connection.session === undefined
      if (isPending) pending += 1
      if (connection.remoteAddress !== address) continue
      fromThere += 1
      if (isPending) pendingFromThere += 1
    }
    return (
      this.#connections.size >= this.#maxConnections ||
      fromThere >= this.#maxPerAddress ||
      pending >= this.#maxPending ||
      pendingFromThere >= this.#maxPendingPerAddress
    )
  }

  #tick(): void {
    const now = Date.now()
    for (const connection of this.#connections) connection.tick(now)
    for (const [address, { since }] of this.#failures) {
      if (now - since >= FAILURE_WINDOW_MS) this.#failures.delete(address)
    }
  }
}

function publish(to: ReturnType<typeof channel>, event: TargetEvent): void {
  if (to.hasSubscribers) to.publish(event)
}
