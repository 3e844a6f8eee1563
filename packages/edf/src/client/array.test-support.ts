import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EdfNode, type EdfNodeOptions, startEdfNode } from '../node/index.ts'
import { EdfClient, type EdfClientOptions } from './edf-client.ts'
import { MisbehavingProxy } from './proxy.test-support.ts'

/** A storage node on free ports with a directory of its own, and a proxy in front of it. For tests only. */
export class TestArray implements AsyncDisposable {
  readonly node: EdfNode
  readonly proxy: MisbehavingProxy
  readonly #directory: string

  private constructor(node: EdfNode, proxy: MisbehavingProxy, directory: string) {
    this.node = node
    this.proxy = proxy
    this.#directory = directory
  }

  static async start(options: Partial<EdfNodeOptions> = {}): Promise<TestArray> {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-array-'))
    const node = await startEdfNode({
      directory,
      host: '127.0.0.1',
      httpPort: 0,
      httpsPort: 0,
      iscsi: { host: '127.0.0.1', port: 0 },
      ...options,
    })
    return new TestArray(node, await MisbehavingProxy.start(node.httpUrl), directory)
  }

  /** Options of a client that comes through the proxy, with retries that do not make tests wait. */
  clientOptions(changes: Partial<EdfClientOptions> = {}): EdfClientOptions {
    return {
      host: '127.0.0.1',
      port: this.proxy.port,
      tls: false,
      login: this.node.login,
      password: this.node.password,
      driver: 'Emberglass-Test',
      retry: { budgetMs: 5000, intervalMs: 20 },
      ...changes,
    }
  }

  async connect(changes: Partial<EdfClientOptions> = {}): Promise<EdfClient> {
    return await EdfClient.connect(this.clientOptions(changes), { signal: new AbortController().signal })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy[Symbol.asyncDispose]()
    await this.node.close()
    await rm(this.#directory, { recursive: true, force: true })
  }
}
