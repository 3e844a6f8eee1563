import { randomBytes } from 'node:crypto'
import { IscsiError } from '../errors.ts'
import type { Portal } from './connection.ts'
import { logIn } from './login.ts'
import type { LoginIdentity } from './login-exchange.ts'
import { Session, type SessionOwner } from './session.ts'
import { type Command, type Outcome, Task } from './task.ts'

export interface NexusOptions {
  /** Tried in turn, beginning with the first; after a failure with the one behind it. */
  readonly portals: readonly Portal[]
  readonly identity: LoginIdentity
  /** Commands with the target at a time. */
  readonly queueDepth: number
  /** How often limits are looked at. */
  readonly tickMs: number
  /** Limit of one login. */
  readonly loginTimeoutMs: number
  /** How long a lost session is tried to be had back before its commands fail. */
  readonly recoveryTimeoutMs: number
}

/** Runs commands; a logical unit needs no more of a nexus. */
export interface CommandRunner {
  execute(command: Command, signal: AbortSignal): Promise<Outcome>
}

/** A target that restarts may for so long refuse what it admits a moment later. */
const refusalPatienceMs = 10_000
/** Pause before the second and each later attempt to log in again; doubled up to the longest. */
const firstPauseMs = 500
const longestPauseMs = 30_000

/**
 * The tie between this initiator port and one target (an I_T nexus), which outlives its connections: when one is
 * lost it logs in again, at the next portal if there are several, and repeats the commands that were not
 * answered, in their order. Commands that must not be repeated fail instead.
 */
export class Nexus implements SessionOwner, CommandRunner {
  readonly #options: NexusOptions
  readonly #isid: Buffer
  readonly #queue: Task[] = []
  readonly #closing = new AbortController()
  #session: Session | undefined
  #portalIndex = 0
  #recovering: Promise<void> | undefined
  #dead: Error | undefined
  #ticker: NodeJS.Timeout | undefined
  /** A new session is being looked at: nothing else is sent yet. */
  #checking = false
  /** How often the session was lost and had back. */
  reconnects = 0
  /**
   * Looks at what answers after a lost session was had back, before anything is repeated there. When it throws
   * an `IscsiError` `invalid` the nexus is given up.
   */
  check: ((runner: CommandRunner, signal: AbortSignal) => Promise<void>) | undefined

  constructor(options: NexusOptions) {
    this.#options = options
    // Random format (RFC 7143 section 11.12.5): distinct for every nexus of this host.
    this.#isid = randomBytes(6)
    this.#isid[0] = 0x80
  }

  /**
   * Logs in for the first time, trying each portal once.
   * @throws the error of the last portal, or the first refusal that no other portal would change
   */
  async open(signal: AbortSignal): Promise<void> {
    let failure: unknown = new IscsiError('invalid', 'no portal was given')
    for (let attempt = 0; attempt < this.#options.portals.length; attempt += 1) {
      try {
        await this.#logIn(AbortSignal.any([signal, this.#closing.signal]))
        this.#ticker = setInterval(() => this.#tick(), this.#options.tickMs)
        this.#ticker.unref()
        return
      } catch (error) {
        if (signal.aborted || isPermanent(error)) throw error
        failure = error
        this.#portalIndex += 1
      }
    }
    throw failure
  }

  /** The session that is in use now. */
  get session(): Session | undefined {
    return this.#session
  }

  /**
   * Runs a command to its end.
   * @throws IscsiError when it could not be carried out; the signal's reason when it was cancelled, once the
   *   target has confirmed that the command moves no more data
   */
  execute(command: Command, signal: AbortSignal): Promise<Outcome> {
    if (signal.aborted) return Promise.reject(signal.reason)
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const task = new Task(command)
    const session = this.#session
    if (session?.hasRoom === true && !this.#checking && this.#queue.length === 0) session.submit(task)
    else this.#queue.push(task)
    const onAbort = () => this.#cancel(task, signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    return task.done.finally(() => signal.removeEventListener('abort', onAbort))
  }

  /** Logs out. Commands that have not ended fail. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    const error = new IscsiError('closed', 'the disk was closed')
    this.#dead ??= error
    this.#closing.abort(error)
    this.#failQueue(error)
    // A session that is still being looked at has nothing to lose: its check would be waited for.
    if (this.#checking) this.#session?.drop(error)
    await this.#recovering
    await this.#session?.logout()
    clearInterval(this.#ticker)
    this.#session = undefined
  }

  roomFor(session: Session): void {
    while (session.hasRoom && !this.#checking) {
      const task = this.#queue.shift()
      if (task === undefined) return
      session.submit(task)
    }
  }

  repeat(session: Session, tasks: readonly Task[]): void {
    this.#queueAgain(tasks, new IscsiError('closed', 'a reset of the unit ended the command'))
    this.roomFor(session)
  }

  #queueAgain(tasks: readonly Task[], otherwise: Error): void {
    const again: Task[] = []
    for (const task of tasks) {
      if (task.command.replay && task.abortReason === undefined && this.#dead === undefined) again.push(task)
      else task.fail(otherwise)
    }
    this.#queue.unshift(...again)
  }

  ended(session: Session, error: Error, unanswered: readonly Task[]): void {
    if (this.#session === session) this.#session = undefined
    this.#queueAgain(unanswered, error)
    if (this.#closing.signal.aborted || this.#recovering !== undefined) return
    this.#recovering = this.#recover(error).finally(() => {
      this.#recovering = undefined
    })
  }

  #cancel(task: Task, reason: unknown): void {
    if (task.isSettled) return
    const index = this.#queue.indexOf(task)
    if (index >= 0) {
      this.#queue.splice(index, 1)
      task.fail(reason)
    } else this.#session?.abort(task, reason)
  }

  async #logIn(signal: AbortSignal): Promise<void> {
    const { portals, identity, loginTimeoutMs, queueDepth } = this.#options
    const portal = portals[this.#portalIndex % portals.length]
    if (portal === undefined) throw new IscsiError('invalid', 'no portal was given')
    await logIn(portal, identity, this.#isid, loginTimeoutMs, signal, (loggedIn) => {
      this.#session = new Session(loggedIn, this, queueDepth)
    })
  }

  async #logInAndCheck(signal: AbortSignal): Promise<void> {
    this.#checking = this.check !== undefined
    try {
      await this.#logIn(signal)
      await this.check?.({ execute: (command) => this.#executeNow(command) }, signal)
    } catch (error) {
      this.#session?.drop(error instanceof Error ? error : new IscsiError('closed', String(error)))
      throw error
    } finally {
      this.#checking = false
    }
  }

  /** Past the queue, and not repeated: for the check alone. */
  #executeNow(command: Command): Promise<Outcome> {
    const task = new Task({ ...command, replay: false })
    if (this.#session === undefined) task.fail(new IscsiError('closed', 'the connection was lost again'))
    else this.#session.submit(task)
    return task.done
  }

  /** Never rejects: when it gives up, it fails what is waiting. */
  async #recover(lost: Error): Promise<void> {
    const { portals, recoveryTimeoutMs } = this.#options
    const deadline = performance.now() + recoveryTimeoutMs
    const { signal } = this.#closing
    let pauseMs = firstPauseMs
    let failure: unknown = lost
    let refusedSince: number | undefined
    for (let attempt = 0; ; attempt += 1) {
      if (portals.length > 1) this.#portalIndex += 1
      try {
        await this.#logInAndCheck(signal)
        this.reconnects += 1
        if (this.#session === undefined) throw lost
        this.roomFor(this.#session)
        return
      } catch (error) {
        failure = error
      }
      if (signal.aborted) return
      // Every portal has its turn before a pause.
      const pause = attempt + 1 < portals.length ? 0 : pauseMs
      refusedSince = isPermanent(failure) ? (refusedSince ?? performance.now()) : undefined
      const refused = refusedSince !== undefined && performance.now() - refusedSince > refusalPatienceMs
      if (refused || isOtherDisk(failure) || performance.now() + pause > deadline) break
      if (pause > 0) pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      await pauseFor(pause, signal)
      if (signal.aborted) return
    }
    const why = failure instanceof Error ? failure.message : String(failure)
    this.#dead = new IscsiError('closed', `the session was lost (${lost.message}) and not had back: ${why}`, {
      cause: failure,
    })
    clearInterval(this.#ticker)
    this.#failQueue(this.#dead)
  }

  #tick(): void {
    const now = performance.now()
    this.#session?.tick(now)
    // While a session is being had back that has a limit of its own.
    if (this.#session === undefined) return
    const expired = this.#queue.filter((task) => now - task.queuedAt > this.#patienceMs(task))
    for (const task of expired) {
      this.#queue.splice(this.#queue.indexOf(task), 1)
      const what = `timed out waiting for a place in the target's command window for ${task.command.what}`
      task.fail(new IscsiError('timeout', what))
    }
  }

  /** A queued command may have to wait for those before it, and for a recovery. */
  #patienceMs(task: Task): number {
    return 2 * task.command.timeoutMs + this.#options.recoveryTimeoutMs
  }

  #failQueue(error: Error): void {
    for (const task of this.#queue.splice(0)) task.fail(error)
  }
}

/** Refusals that trying again does not change: class 2 of the login status, and secrets that do not match. */
function isPermanent(error: unknown): boolean {
  if (!(error instanceof IscsiError)) return false
  return error.code === 'authentication' || error.code === 'invalid' || error.statusClass === 2
}

function isOtherDisk(error: unknown): boolean {
  return error instanceof IscsiError && error.code === 'invalid'
}

function pauseFor(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', finish)
      resolve()
    }
    const timer = setTimeout(finish, milliseconds)
    signal.addEventListener('abort', finish)
  })
}
