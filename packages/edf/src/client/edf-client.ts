import { System } from '../schemas/system.ts'
import { productGates, type VersionTraits, versions } from '../versions.ts'
import { dataOf, expectShape } from './answer.ts'
import { EdfInvalid, EdfNotFound, EdfVersion } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { productAtLeast } from './product.ts'
import { type Credentials, Requester } from './requester.ts'
import type { RetryPolicy } from './retry.ts'
import { EdfScope } from './scope.ts'
import { type EdfTlsOptions, Transport } from './transport.ts'

/** Versions that this client speaks. Version 2 has another data model and was given up by the product. */
export type ClientVersion = '2.1' | '2.2' | '2.3'

/** Where the array is, and how to talk to it. Times are milliseconds. */
export interface EdfClientOptions extends Credentials {
  /** Management address: a name, an IPv4 or an IPv6 address without brackets. */
  readonly host: string
  /** Default: 7718 with TLS, 7717 without. */
  readonly port?: number | undefined
  /** Default: TLS without verification, as arrays come with self-signed certificates. `false`: plain HTTP. */
  readonly tls?: EdfTlsOptions | false
  /** Who we are, in the `Datera-Driver` header of every request: `OpenStack-Cinder-1.0`. */
  readonly driver: string
  /** In the order in which they are tried. Default: 2.2, 2.1. */
  readonly versions?: readonly ClientVersion[]
  /** Default: for 120 s, with pauses of 5 s at most. */
  readonly retry?: RetryPolicy
  /** Default 10 s. */
  readonly connectTimeoutMs?: number
  /** Longest silence of the array; default 300 s. */
  readonly answerTimeoutMs?: number
  /** Requests under way at once; default 32. */
  readonly concurrency?: number
}

const defaultVersions: readonly ClientVersion[] = ['2.2', '2.1']
const defaultRetry: RetryPolicy = { budgetMs: 120_000, intervalMs: 5000 }

/** A connection to an array: one API version, one session, many tenants. */
export class EdfClient {
  readonly version: ClientVersion
  readonly traits: VersionTraits
  readonly origin: string
  readonly #transport: Transport
  readonly #requester: Requester
  #system: System
  /** Whether templates can be overridden, by product version. */
  #templateOverride: { swVersion: string; known: boolean } | undefined

  private constructor(version: ClientVersion, transport: Transport, requester: Requester, system: System) {
    this.version = version
    this.traits = versions[version]
    this.origin = transport.origin
    this.#transport = transport
    this.#requester = requester
    this.#system = system
  }

  /**
   * Logs in with the first version that the array offers, and reads what product it is.
   * @throws EdfAuth wrong credentials; EdfUnavailable, EdfTls not reachable; EdfVersion no common version
   */
  static async connect(options: EdfClientOptions, call: EdfCall): Promise<EdfClient> {
    const tls = options.tls === undefined ? { verify: false } : options.tls
    const transport = new Transport({
      host: options.host,
      port: options.port ?? (tls === false ? 7717 : 7718),
      ...(tls === false ? {} : { tls }),
      connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
      answerTimeoutMs: options.answerTimeoutMs ?? 300_000,
      concurrency: options.concurrency ?? 32,
    })
    const wanted = options.versions ?? defaultVersions
    try {
      let refusal: Error | undefined
      let requester: Requester | undefined
      for (const version of wanted) {
        requester = new Requester({
          transport,
          credentials: options,
          driver: options.driver,
          retry: options.retry ?? defaultRetry,
          version,
        })
        try {
          const system = await readSystem(requester, call)
          return new EdfClient(version, transport, requester, system)
        } catch (error) {
          // "No such route": the array is of another age. Everything else would be no better in another version.
          if (!(error instanceof EdfNotFound || error instanceof EdfInvalid)) throw error
          refusal = error
        }
      }
      const offered = (await requester?.offeredVersions(call)) ?? []
      const known = offered.length === 0 ? 'does not say which it has' : `has ${offered.join(', ')}`
      const message = `${transport.origin} offers none of the API versions ${wanted.join(', ')}; it ${known}`
      throw new EdfVersion(message, offered, { cause: refusal })
    } catch (error) {
      await transport.destroy()
      throw error
    }
  }

  /** `sw_version` as it was last read. */
  get productVersion(): string {
    return this.#system.sw_version
  }

  /** The cluster as it was last read. */
  get lastSystem(): System {
    return this.#system
  }

  /** Whether the product has reached a gate, and the API version in use shows it: 2.1 shows none of them. */
  has(feature: keyof typeof productGates): boolean {
    return this.version !== '2.1' && productAtLeast(this.productVersion, productGates[feature])
  }

  /** @param tenant `/root/…`; absent: no header, the array's default */
  in(tenant: string | undefined): EdfScope {
    return new EdfScope(
      tenant,
      { send: (request, call) => this.#requester.send({ ...request, tenant }, call) },
      () =>
        this.has('intEcosystemData')
          ? { suffix: 'int_ecosystem_data', wrapped: true }
          : { suffix: 'metadata', wrapped: false },
    )
  }

  /** Reads `/system`: capacities, health and the product's version, which may have changed by an upgrade. */
  async system(call: EdfCall): Promise<System> {
    this.#system = await readSystem(this.#requester, call)
    return this.#system
  }

  /** Whether an app instance made from a template may have another size. Asked once per product version. */
  async canOverrideTemplates(call: EdfCall): Promise<boolean> {
    if (!this.traits.templateOverride) return false
    const swVersion = this.productVersion
    if (this.#templateOverride?.swVersion !== swVersion) {
      const schema = await this.#requester.send({ method: 'GET', path: '/api', tenant: '/root' }, call)
      const root: unknown = dig(schema, ['data']) ?? schema
      const steps = ['/app_instances', 'create', 'bodyParamSchema', 'properties', 'template_override']
      this.#templateOverride = { swVersion, known: dig(root, steps) !== undefined }
    }
    return this.#templateOverride.known
  }

  /** Logs out and closes every connection. Calls under way finish first. */
  async close(): Promise<void> {
    await this.#requester.close()
    await this.#transport.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function readSystem(requester: Requester, call: EdfCall): Promise<System> {
  const body = await requester.send({ method: 'GET', path: '/system', tenant: '/root' }, call)
  return expectShape(System, dataOf(body, '/system'), '/system')
}

function dig(value: unknown, steps: readonly string[]): unknown {
  let here = value
  for (const step of steps) {
    if (typeof here !== 'object' || here === null) return undefined
    here = Reflect.get(here, step)
  }
  return here
}
