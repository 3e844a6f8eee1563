import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request } from 'undici'
import type { EdfNodeEvent } from './events.ts'
import { type EdfNode, type EdfNodeOptions, startEdfNode } from './start.ts'

/** Any JSON: tests look into answers as a client without types does. */
// biome-ignore lint/suspicious/noExplicitAny: the wire is what is tested, not our idea of it
export type Json = any

export interface Answered {
  readonly status: number
  readonly body: Json
}

export interface CallOptions {
  readonly version?: string
  /** A header without value is left out. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** Sent as it is, instead of JSON. */
  readonly raw?: string | FormData | URLSearchParams
}

/** What a test closes when it ends; `TestContext` of node:test is one. */
export interface Cleanup {
  after(work: () => Promise<void> | void): void
}

export async function temporaryDirectory(cleanup: Cleanup): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'edf-node-'))
  cleanup.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** A node of its own on free ports, with a logged-in client; failures of the node fail the test. */
export class NodeUnderTest {
  readonly node: EdfNode
  readonly failures: EdfNodeEvent[]
  #key = ''

  private constructor(node: EdfNode, failures: EdfNodeEvent[]) {
    this.node = node
    this.failures = failures
  }

  static async start(cleanup: Cleanup, options: Partial<EdfNodeOptions> = {}): Promise<NodeUnderTest> {
    const directory = options.directory ?? (await temporaryDirectory(cleanup))
    const failures: EdfNodeEvent[] = []
    const node = await startEdfNode({
      host: '127.0.0.1',
      httpPort: 0,
      httpsPort: 0,
      iscsi: { host: '127.0.0.1', port: 0 },
      onEvent: (event) => {
        if (event.kind === 'failure') failures.push(event)
      },
      ...options,
      directory,
    })
    const under = new NodeUnderTest(node, failures)
    cleanup.after(async () => {
      await node.close()
      assert.deepEqual(failures, [], 'the node failed')
    })
    await under.login()
    return under
  }

  async login(name = this.node.login, password = this.node.password): Promise<string> {
    const { body } = await this.call(
      'PUT',
      '/login',
      { name, password },
      { headers: { 'auth-token': undefined } },
    )
    this.#key = body.key
    return body.key
  }

  get key(): string {
    return this.#key
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    { version = '2.2', headers = {}, raw }: CallOptions = {},
  ): Promise<Answered> {
    const sent: Record<string, string | undefined> = {
      'auth-token': this.#key,
      ...(raw === undefined && { 'content-type': 'application/json' }),
      ...headers,
    }
    const url = `${this.node.httpUrl}/v${version}${path}`
    const set = Object.entries(sent).filter((entry): entry is [string, string] => entry[1] !== undefined)
    const init = {
      method,
      headers: Object.fromEntries(set),
      ...(raw !== undefined ? { body: raw } : body !== undefined && { body: JSON.stringify(body) }),
    }
    if (method === 'GET' && typeof init.body === 'string') {
      // Some clients do so, and fetch refuses to.
      const answer = await request(url, { ...init, method, body: init.body })
      return { status: answer.statusCode, body: await answer.body.json() }
    }
    const response = await fetch(url, init)
    assert.match(response.headers.get('content-type') ?? '', /^application\/json/)
    return { status: response.status, body: await response.json() }
  }

  /** A call that has to succeed. @returns `data` */
  async ok(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Json> {
    const answered = await this.call(method, path, body, options)
    assert.equal(answered.status, 200, `${method} ${path}: ${JSON.stringify(answered.body)}`)
    return answered.body.data
  }

  /** A call that has to be refused. @returns the error */
  async refused(
    status: number,
    name: string,
    method: string,
    path: string,
    body?: unknown,
    options?: CallOptions,
  ): Promise<Json> {
    const answered = await this.call(method, path, body, options)
    assert.equal(answered.status, status, `${method} ${path}: ${JSON.stringify(answered.body)}`)
    assert.equal(answered.body.name, name)
    assert.equal(answered.body.http, status)
    assert.equal(typeof answered.body.code, 'number')
    assert.equal(typeof answered.body.message, 'string')
    return answered.body
  }

  /** One volume in one storage instance, as all drivers make them. @returns the app instance */
  async createVolume(name: string, sizeGib = 1, more: object = {}): Promise<Json> {
    return this.ok('POST', '/app_instances', {
      name,
      create_mode: 'openstack',
      access_control_mode: 'deny_all',
      storage_instances: [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: sizeGib }] }],
      ...more,
    })
  }
}

export const storagePath = (ai: Json): string => ai.storage_instances[0].path
export const volumePathOf = (ai: Json): string => ai.storage_instances[0].volumes[0].path
