import { Readable } from 'node:stream'
import { Agent, type Dispatcher, request } from 'undici'
import { type Bytes, watchBytes } from '../../../kernel/bytes.ts'
import { type Call, sleep } from '../../../kernel/call.ts'
import { BackendError, messageOf, NotFound, StorageError, Unauthenticated } from '../../../kernel/errors.ts'
import type { Secret } from '../../../kernel/secret.ts'
import { connectOptions, type TlsTrust } from '../../../kernel/tls-trust.ts'
import { elements, escapeXml, textOf } from './xml.ts'

/** How long the server may take to begin an answer, or pause in one, in milliseconds. */
const answerTimeoutMs = 60_000
const firstRetryMs = 250
const maxRetryMs = 8_000
/** How long a task may take, in milliseconds. */
const taskLimitMs = 600_000

export interface VsphereOptions {
  /** `https://host`. */
  readonly origin: string
  readonly username: string
  readonly password: Secret
  readonly trust: TlsTrust
  readonly retries: number
  readonly pollMs: number
}

/** The managers that the server names. */
interface Session {
  readonly cookie: string
  readonly fileManager: string
  readonly searchIndex: string
  readonly propertyCollector: string
}

/**
 * A vCenter or ESX: its datastores over HTTP, and of its SOAP API what they need. The session is renewed when the
 * server has forgotten it.
 * @see vSphere Web Services API: SessionManager, SearchIndex, PropertyCollector, FileManager; datastore access over HTTP
 */
export class Vsphere implements AsyncDisposable {
  readonly #options: VsphereOptions
  readonly #agent: Agent
  #session: Promise<Session> | undefined

  constructor(options: VsphereOptions) {
    this.#options = options
    this.#agent = new Agent({
      headersTimeout: answerTimeoutMs,
      bodyTimeout: answerTimeoutMs,
      connect: { timeout: 10_000, ...connectOptions(options.trust) },
    })
  }

  /** The datacenter's reference. @throws NotFound */
  async datacenter(path: string, call: Call): Promise<string> {
    const answer = await this.#ask(
      ({ searchIndex }) =>
        `<FindByInventoryPath xmlns="urn:vim25"><_this type="SearchIndex">${searchIndex}</_this><inventoryPath>${escapeXml(path)}</inventoryPath></FindByInventoryPath>`,
      call,
    )
    const found = textOf(answer, 'returnval')
    if (found === undefined || found === '') throw new NotFound(`There is no datacenter ${path}.`)
    return found
  }

  /** Free bytes of a datacenter's datastores, by their names; those that cannot be reached are left out. */
  async freeBytes(datacenter: string, call: Call): Promise<ReadonlyMap<string, number>> {
    const listed = await this.#properties('Datacenter', [datacenter], ['datastore'], call)
    const references = elements(listed, 'ManagedObjectReference').map((each) => each.trim())
    if (references.length === 0) return new Map()
    const answer = await this.#properties('Datastore', references, ['summary'], call)
    return new Map(
      elements(answer, 'val').flatMap((summary) => {
        const name = textOf(summary, 'name')
        const isThere = textOf(summary, 'accessible') === 'true'
        return name === undefined || !isThere ? [] : [[name, Number(textOf(summary, 'freeSpace') ?? 0)]]
      }),
    )
  }

  /** Makes a folder with those above it; it is there already: fine. @param name `[datastore] path` */
  async makeDirectory(name: string, datacenter: string, call: Call): Promise<void> {
    try {
      await this.#ask(
        ({ fileManager }) =>
          `<MakeDirectory xmlns="urn:vim25"><_this type="FileManager">${fileManager}</_this><name>${escapeXml(name)}</name><datacenter type="Datacenter">${escapeXml(datacenter)}</datacenter><createParentDirectories>true</createParentDirectories></MakeDirectory>`,
        call,
      )
    } catch (error) {
      if (!(error instanceof BackendError) || error.details['fault'] !== 'FileAlreadyExists') throw error
    }
  }

  /** Deletes a file; already gone: fine. @param name `[datastore] path` */
  async deleteFile(name: string, datacenter: string, call: Call): Promise<void> {
    try {
      const answer = await this.#ask(
        ({ fileManager }) =>
          `<DeleteDatastoreFile_Task xmlns="urn:vim25"><_this type="FileManager">${fileManager}</_this><name>${escapeXml(name)}</name><datacenter type="Datacenter">${escapeXml(datacenter)}</datacenter></DeleteDatastoreFile_Task>`,
        call,
      )
      await this.#finished(textOf(answer, 'returnval') ?? '', call)
    } catch (error) {
      if (!(error instanceof BackendError) || error.details['fault'] !== 'FileNotFound') throw error
    }
  }

  /**
   * A request to a datastore; what the server answers, whatever the status. A stream is sent once.
   * @param path as `pathOf` makes it
   */
  async datastore(
    method: 'GET' | 'HEAD' | 'PUT',
    path: string,
    headers: Readonly<Record<string, string>>,
    body: Bytes | undefined,
    call: Call,
  ): Promise<Dispatcher.ResponseData> {
    for (let attempt = 0; ; attempt += 1) {
      const { cookie } = await this.#logged(call)
      const source = body === undefined ? undefined : watchBytes(body)
      const stream = source === undefined ? undefined : Readable.from(source.bytes, { objectMode: false })
      try {
        const response = await request(`${this.#options.origin}${path}`, {
          method,
          dispatcher: this.#agent,
          headers: { ...headers, cookie },
          signal: call.signal,
          ...(stream === undefined ? {} : { body: stream }),
        })
        if (response.statusCode !== 401 || body !== undefined || attempt >= this.#options.retries)
          return response
        await response.body.dump()
        this.#session = undefined
      } catch (error) {
        if (source?.threw(error) === true) throw error
        if (call.signal.aborted) throw call.signal.reason
        if (body !== undefined || attempt >= this.#options.retries) throw unreachable(error)
        await sleep(pauseMs(attempt), call.signal)
      } finally {
        stream?.destroy()
      }
    }
  }

  /** Is the session alive? Renews it, so that a stream that follows is not refused. */
  async renew(call: Call): Promise<void> {
    this.#session = undefined
    await this.#logged(call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }

  async #finished(task: string, call: Call): Promise<void> {
    const deadline = Date.now() + taskLimitMs
    for (;;) {
      const answer = await this.#properties('Task', [task], ['info'], call)
      const state = textOf(answer, 'state')
      if (state === 'success') return
      if (state === 'error') {
        const fault = /<fault[^>]*type="(?:\w+:)?(\w+)"/.exec(answer)?.[1]
        const message = textOf(answer, 'localizedMessage') ?? 'no reason was given'
        throw new BackendError(`A task of the VMware server failed: ${message}`, {
          left: 'unknown',
          details: { fault },
        })
      }
      if (Date.now() > deadline) {
        throw new BackendError(`A task of the VMware server is still ${state} after ${taskLimitMs} ms.`, {
          left: 'unknown',
          retryAfterMs: maxRetryMs,
        })
      }
      await sleep(this.#options.pollMs, call.signal)
    }
  }

  async #properties(
    type: string,
    references: readonly string[],
    paths: readonly string[],
    call: Call,
  ): Promise<string> {
    const wanted = paths.map((path) => `<pathSet>${path}</pathSet>`).join('')
    const objects = references
      .map((each) => `<objectSet><obj type="${type}">${escapeXml(each)}</obj></objectSet>`)
      .join('')
    return await this.#ask(
      ({ propertyCollector }) =>
        `<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">${propertyCollector}</_this><specSet><propSet><type>${type}</type>${wanted}</propSet>${objects}</specSet></RetrieveProperties>`,
      call,
    )
  }

  /** A SOAP call in the session. */
  async #ask(body: (session: Session) => string, call: Call): Promise<string> {
    for (let attempt = 0; ; attempt += 1) {
      const session = await this.#logged(call)
      try {
        return (await this.#soap(body(session), session.cookie, call)).text
      } catch (error) {
        if (call.signal.aborted) throw call.signal.reason
        if (attempt >= this.#options.retries) throw error
        if (error instanceof Unauthenticated) this.#session = undefined
        else if (error instanceof BackendError && error.retryAfterMs !== undefined) {
          await sleep(pauseMs(attempt), call.signal)
        } else throw error
      }
    }
  }

  async #logged(call: Call): Promise<Session> {
    this.#session ??= this.#logIn({ ...call, signal: AbortSignal.timeout(answerTimeoutMs) })
    try {
      return await this.#session
    } catch (error) {
      this.#session = undefined
      throw error
    }
  }

  async #logIn(call: Call): Promise<Session> {
    const { username, password } = this.#options
    const begin =
      '<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></RetrieveServiceContent>'
    const { text } = await this.#soap(begin, undefined, call)
    const reference = (name: string) => {
      const found = textOf(text, name)
      if (found !== undefined) return escapeXml(found)
      throw new BackendError(`The VMware server has no ${name}.`, { left: 'nothing' })
    }
    const login = `<Login xmlns="urn:vim25"><_this type="SessionManager">${reference('sessionManager')}</_this><userName>${escapeXml(username)}</userName><password>${escapeXml(password.reveal())}</password></Login>`
    const { cookie } = await this.#soap(login, undefined, call)
    if (cookie === undefined) throw new Unauthenticated('The VMware server gave no session.')
    return {
      cookie,
      fileManager: reference('fileManager'),
      searchIndex: reference('searchIndex'),
      propertyCollector: reference('propertyCollector'),
    }
  }

  async #soap(body: string, cookie: string | undefined, call: Call) {
    const envelope = `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`
    const response = await request(`${this.#options.origin}/sdk`, {
      method: 'POST',
      dispatcher: this.#agent,
      headers: {
        'content-type': 'text/xml; charset=utf-8',
        soapaction: '"urn:vim25/5.5"',
        ...(cookie === undefined ? {} : { cookie }),
      },
      body: envelope,
      signal: call.signal,
    }).catch((error: unknown) => {
      throw unreachable(error)
    })
    const text = await response.body.text()
    if (response.statusCode === 200) return { text, cookie: cookieOf(response) }
    const fault = /<(?:\w+:)?(\w+)Fault[\s>/]/.exec(
      textOf(text, 'detail') ?? elements(text, 'detail')[0] ?? '',
    )?.[1]
    const message = `The VMware server answered ${response.statusCode}: ${textOf(text, 'faultstring') ?? 'no reason'}`
    if (fault === 'NotAuthenticated' || fault === 'InvalidLogin') throw new Unauthenticated(message)
    throw new BackendError(message, {
      left: 'unknown',
      details: { fault },
      ...(response.statusCode > 500 ? { retryAfterMs: 1_000 } : {}),
    })
  }
}

function cookieOf({ headers }: Dispatcher.ResponseData): string | undefined {
  return [headers['set-cookie'] ?? []]
    .flat()
    .map((each) => each.split(';', 1)[0] ?? '')
    .find((each) => each.startsWith('vmware_soap_session='))
}

function pauseMs(attempt: number): number {
  return Math.min(maxRetryMs, firstRetryMs * 2 ** attempt)
}

/** The kernel's error for a connection that failed. */
export function unreachable(cause: unknown): StorageError {
  if (cause instanceof StorageError) return cause
  return new BackendError(`The VMware server could not be reached: ${messageOf(cause)}`, {
    left: 'unknown',
    retryAfterMs: 1_000,
    cause,
  })
}
