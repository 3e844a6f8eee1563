import { randomBytes } from 'node:crypto'
import type { EdfClient } from './edf-client.ts'
import { EdfConflict, EdfNotFound } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { Exclusive } from './exclusive.ts'
import type { Located } from './scope.ts'

/** Registers initiators where they are needed, each once, and lets them in. */
export class Initiators {
  readonly #client: EdfClient
  readonly #known = new Set<string>()
  readonly #exclusive = new Exclusive()

  constructor(client: EdfClient) {
    this.#client = client
  }

  /**
   * Puts an initiator on the ACL of a storage instance, registering it in the tenant first when it is unknown there.
   * Repeats safely.
   * @throws EdfNotFound when the storage instance does not exist
   */
  async admit(
    tenant: string | undefined,
    storageInstance: Located,
    iqn: string,
    call: EdfCall,
  ): Promise<void> {
    const scope = this.#client.in(tenant)
    await this.ensure(tenant, iqn, call)
    try {
      await scope.admit(storageInstance, iqn, call)
    } catch (error) {
      // Somebody may have removed the initiator since we looked.
      if (!(error instanceof EdfNotFound)) throw error
      this.#known.delete(keyOf(tenant, iqn))
      await this.ensure(tenant, iqn, call)
      await scope.admit(storageInstance, iqn, call)
    }
  }

  /** The initiator exists in the tenant itself when this resolves, not only in one above it. */
  async ensure(tenant: string | undefined, iqn: string, call: EdfCall): Promise<void> {
    const key = keyOf(tenant, iqn)
    if (this.#known.has(key)) return
    await this.#exclusive.run(key, call.signal, async () => {
      if (this.#known.has(key)) return
      await this.#register(tenant, iqn, call)
      this.#known.add(key)
    })
  }

  async #register(tenant: string | undefined, iqn: string, call: EdfCall): Promise<void> {
    const scope = this.#client.in(tenant)
    const force = this.#client.traits.initiatorForce
    const found = await scope.initiators.find(iqn, call)
    // Version 2.1 does not say where an initiator lives; an inherited one is then as good as an own one.
    const own = found !== undefined && (!force || (found.tenant ?? '/root') === (tenant ?? '/root'))
    if (own) return
    const name = `OpenStack-${randomBytes(4).toString('hex')}`
    try {
      await scope.initiators.create({ id: iqn, name, ...(force ? { force: true } : {}) }, call)
    } catch (error) {
      if (!(error instanceof EdfConflict)) throw error
    }
  }
}

function keyOf(tenant: string | undefined, iqn: string): string {
  return `${tenant ?? ''} ${iqn}`
}
