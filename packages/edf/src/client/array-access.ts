import { type AttachedDiskOptions, AttachedDisks } from './attached-disks.ts'
import { EdfClient, type EdfClientOptions } from './edf-client.ts'
import { EdfUnavailable } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { HostAccess } from './host-access.ts'
import { Initiators } from './initiators.ts'
import { unlessAborted } from './retry.ts'
import { Tenants } from './tenancy.ts'

/** How to connect, what the disks need, and who is told what. */
export interface ArrayAccessOptions {
  /** Asked at each attempt to connect: certificates may have been renewed since the last. */
  readonly client: () => Promise<EdfClientOptions>
  readonly disks: AttachedDiskOptions
  /** Told when the account may not create a tenant that is missing. */
  readonly onTenantRefused: (tenant: string, error: Error) => void
}

/** What works together on one connection. */
export interface ConnectedArray {
  readonly client: EdfClient
  readonly tenants: Tenants
  readonly initiators: Initiators
  readonly hosts: HostAccess
  readonly disks: AttachedDisks
}

/**
 * An array that is connected when it is first needed, once for everybody who waits, and again on the next use after
 * an attempt has failed.
 */
export class ArrayAccess implements AsyncDisposable {
  readonly #options: ArrayAccessOptions
  readonly #closed = new AbortController()
  #connected: ConnectedArray | undefined
  #connecting: Promise<ConnectedArray> | undefined

  constructor(options: ArrayAccessOptions) {
    this.#options = options
  }

  /** @throws EdfError as `EdfClient.connect` */
  async connect(call: EdfCall): Promise<ConnectedArray> {
    call.signal.throwIfAborted()
    if (this.#connected !== undefined) return this.#connected
    this.#connecting ??= this.#make(call).finally(() => {
      this.#connecting = undefined
    })
    return await unlessAborted(this.#connecting, call.signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new EdfUnavailable('the array access is closed', { outcome: 'none' }))
    const connected = this.#connected ?? (await this.#connecting?.catch(() => undefined))
    this.#connected = undefined
    await connected?.client.close()
  }

  /** Outlives the call that began it, because others may wait for it too. */
  async #make(call: EdfCall): Promise<ConnectedArray> {
    const client = await EdfClient.connect(await this.#options.client(), {
      ...call,
      signal: this.#closed.signal,
    })
    const initiators = new Initiators(client)
    const hosts = new HostAccess(client, initiators)
    const connected = {
      client,
      tenants: new Tenants(client, this.#options.onTenantRefused),
      initiators,
      hosts,
      disks: new AttachedDisks(hosts, this.#options.disks),
    }
    this.#connected = connected
    return connected
  }
}
