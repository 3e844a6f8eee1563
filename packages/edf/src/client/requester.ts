import { randomUUID } from 'node:crypto'
import { EdfAuth, EdfConflict, EdfNotFound, EdfProtocol, EdfUnavailable, errorOfAnswer } from './errors.ts'
import { type EdfCall, masked, publishExchange } from './exchange.ts'
import { isBusy, pause, Retries, type RetryPolicy, unlessAborted } from './retry.ts'
import type { Answer, Transport } from './transport.ts'

/** Who logs in. */
export interface Credentials {
  readonly login: string
  readonly password: string
  /** LDAP server that knows the user; absent: the array itself. */
  readonly ldapServer?: string | undefined
}

export interface EdfRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Without version prefix. */
  readonly path: string
  /** Absent: no tenant header, which means the array's default. */
  readonly tenant?: string | undefined
  readonly query?: Readonly<Record<string, string | number>> | undefined
  readonly body?: unknown
  /**
   * How to tell that a request whose answer was lost has been carried out: given the error of the repetition, the
   * object, or `undefined` when the error stands. A `POST` without it is never repeated after a lost answer.
   */
  readonly readBack?: ((error: EdfConflict | EdfNotFound) => Promise<unknown>) | undefined
}

/**
 * Sends requests of one API version in one session: logs in when needed and again when the session has expired,
 * repeats what was refused as busy or got lost, within the retry budget.
 */
export class Requester {
  readonly #transport: Transport
  readonly #credentials: Credentials
  readonly #driver: string
  readonly #retry: RetryPolicy
  readonly #version: string
  /** Ends logins that nobody waits for any more. */
  readonly #closed = new AbortController()
  #key: string | undefined
  #login: Promise<string> | undefined

  constructor(options: {
    transport: Transport
    credentials: Credentials
    driver: string
    retry: RetryPolicy
    version: string
  }) {
    this.#transport = options.transport
    this.#credentials = options.credentials
    this.#driver = options.driver
    this.#retry = options.retry
    this.#version = options.version
  }

  /**
   * Carries a request out, and answers the body of its 200.
   * @throws EdfError; the signal's reason
   */
  async send(request: EdfRequest, call: EdfCall): Promise<unknown> {
    const retries = new Retries(this.#retry)
    let lost = false
    let renewed = false
    for (;;) {
      const key = this.#key ?? (await this.#logIn(call))
      let answer: Answer
      try {
        answer = await this.#attempt(request, key, call)
      } catch (error) {
        if (!(error instanceof EdfUnavailable)) throw error
        lost ||= error.outcome === 'unknown'
        const repeatable = request.method !== 'POST' || request.readBack !== undefined || !lost
        await this.#again(retries, repeatable, error, lost, call)
        continue
      }
      if (isBusy(answer.status, answer.body)) {
        const error = errorOfAnswer(503, answer.body, { ...request, traceId: call.traceId })
        await this.#again(retries, true, error, lost, call)
        continue
      }
      if (answer.status === 200) return answer.body
      if (answer.status === 401 && !renewed) {
        renewed = true
        if (this.#key === key) this.#key = undefined
        continue
      }
      const error = errorOfAnswer(answer.status, answer.body, { ...request, traceId: call.traceId })
      if (lost && (error instanceof EdfConflict || error instanceof EdfNotFound)) {
        const found = await request.readBack?.(error)
        if (found !== undefined) return found
      }
      throw error
    }
  }

  /** `GET /api_versions`, which needs no session. Empty when the array does not know the call. */
  async offeredVersions(call: EdfCall): Promise<readonly string[]> {
    const { status, body } = await this.#transport.send('GET', '/api_versions', {}, undefined, call.signal)
    const offered: unknown =
      status === 200 && typeof body === 'object' && body !== null
        ? Reflect.get(body, 'api_versions')
        : undefined
    return Array.isArray(offered) ? offered.filter((item) => typeof item === 'string') : []
  }

  /** Ends the session on the array, as far as it answers within two seconds. */
  async close(): Promise<void> {
    this.#closed.abort(new Error('the client is closed'))
    const key = this.#key
    this.#key = undefined
    if (key === undefined) return
    const headers = { 'content-type': 'application/json', 'auth-token': key, 'datera-driver': this.#driver }
    await this.#transport
      .send('PUT', `/v${this.#version}/logout`, headers, undefined, AbortSignal.timeout(2000))
      .catch(() => undefined)
  }

  /** Waits before the next attempt, or throws when there is none. */
  async #again(
    retries: Retries,
    repeatable: boolean,
    error: Error,
    lost: boolean,
    call: EdfCall,
  ): Promise<void> {
    const wait = repeatable ? retries.next() : undefined
    if (wait === undefined) {
      if (!(error instanceof EdfUnavailable) || (lost && error.outcome === 'none')) {
        throw new EdfUnavailable(error.message, { cause: error, outcome: lost ? 'unknown' : 'none' })
      }
      throw error
    }
    await pause(wait, call.signal)
  }

  async #logIn(call: EdfCall): Promise<string> {
    this.#login ??= this.#newSession(call).finally(() => {
      this.#login = undefined
    })
    return await unlessAborted(this.#login, call.signal)
  }

  /** One login serves everybody who waits for it; it therefore outlives the call that began it. */
  async #newSession(call: EdfCall): Promise<string> {
    const { login, password, ldapServer } = this.#credentials
    const request: EdfRequest = {
      method: 'PUT',
      path: '/login',
      body: { name: login, password, ...(ldapServer === undefined ? {} : { remote_server: ldapServer }) },
    }
    const own: EdfCall = { ...call, signal: this.#closed.signal }
    const retries = new Retries(this.#retry)
    for (;;) {
      let answer: Answer
      try {
        answer = await this.#attempt(request, undefined, own)
      } catch (error) {
        if (!(error instanceof EdfUnavailable)) throw error
        await this.#again(retries, true, error, false, own)
        continue
      }
      const { status, body } = answer
      if (isBusy(status, body)) {
        await this.#again(retries, true, errorOfAnswer(503, body, request), false, own)
        continue
      }
      if (status === 401) {
        throw new EdfAuth(`${this.#transport.origin} refuses the login of '${login}'`, {
          ...request,
          status,
          traceId: call.traceId,
        })
      }
      if (status !== 200) throw errorOfAnswer(status, body, { ...request, traceId: call.traceId })
      const key: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, 'key') : undefined
      if (typeof key !== 'string' || key === '') {
        throw new EdfProtocol('the answer to the login has no session key', request)
      }
      this.#key = key
      return key
    }
  }

  async #attempt(request: EdfRequest, key: string | undefined, call: EdfCall): Promise<Answer> {
    const { method, tenant, body } = request
    const path = `/v${this.#version}${request.path}${queryString(request.query)}`
    const headers: Record<string, string> = { 'datera-driver': this.#driver }
    if (key !== undefined) headers['auth-token'] = key
    if (key !== undefined && tenant !== undefined) headers['tenant'] = tenant
    const text = body === undefined ? undefined : JSON.stringify(body)
    if (text !== undefined) headers['content-type'] = 'application/json'
    const started = performance.now()
    const publish = (answer: Answer | undefined, failure: string | undefined) =>
      publishExchange(call, () => ({
        traceId: call.traceId,
        requestId: randomUUID(),
        method,
        url: `${this.#transport.origin}${path}`,
        tenant,
        payload: masked(body),
        status: answer?.status,
        answer: masked(answer?.body),
        seconds: (performance.now() - started) / 1000,
        failure,
      }))
    try {
      const answer = await this.#transport.send(method, path, headers, text, call.signal)
      publish(answer, undefined)
      return answer
    } catch (error) {
      publish(undefined, error instanceof Error ? error.message : String(error))
      throw error
    }
  }
}

function queryString(query: EdfRequest['query']): string {
  if (query === undefined) return ''
  const pairs = Object.entries(query).map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}
