import { after } from 'node:test'
import type { EdfClient } from '@emberglass/edf'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { uncancelled } from '../../../kernel/call.ts'
import { type VolumeDriverFixture, volumeDriverConformance } from '../../volume-driver.conformance.ts'
import type { BackendVolume, Connector } from '../../volume-driver.ts'
import { driverOn, imageOf, TestArray, typeOf } from './driver.test-support.ts'
import type { DateraSettings } from './options.ts'

/** One array for all cases of a variant; each case has a tenant of its own on it. */
class Variant {
  readonly #productVersion: string
  readonly #settings: Partial<DateraSettings>
  #started: Promise<{ array: TestArray; client: EdfClient }> | undefined
  #cases = 0

  constructor(productVersion: string, settings: Partial<DateraSettings>) {
    this.#productVersion = productVersion
    this.#settings = settings
    after(async () => {
      const started = await this.#started
      await started?.client.close()
      await started?.array[Symbol.asyncDispose]()
    })
  }

  async fixture(): Promise<VolumeDriverFixture> {
    this.#started ??= this.#start()
    const { array, client } = await this.#started
    this.#cases += 1
    const tenant = `case-${this.#cases}`
    const settings = { ...this.#settings, tenant, imageCache: true }
    const scope = client.in(`/root/${tenant}`)
    const volumes = async () => await scope.appInstances.list({}, uncancelled())
    return {
      driver: driverOn(array, settings),
      reopen: async () => driverOn(array, settings),
      leftovers: async () =>
        (await volumes()).filter(({ descr }) => !descr?.startsWith('cached image')).map(({ name }) => name),
      snapshotsGoWithVolume: true,
      otherType: typeOf({ 'DF:replica_count': '2', 'DF:total_iops_max': '500' }),
      imageOnBackend: async (data) => imageOf(data),
      reachable: async (volume: BackendVolume, connector: Connector) => {
        const found = (await volumes()).find(({ name }) => name.endsWith(volume.id))
        return await canLogIn(array, found?.storage_instances[0]?.access?.iqn ?? '', connector)
      },
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async #start(): Promise<{ array: TestArray; client: EdfClient }> {
    const array = await TestArray.start({ productVersion: this.#productVersion })
    return { array, client: await array.connect() }
  }
}

async function canLogIn(array: TestArray, targetName: string, connector: Connector): Promise<boolean> {
  const { hostname, port } = new URL(`iscsi://${array.node.iscsiPortal}`)
  try {
    await using _disk = await openIscsiDisk(
      {
        portals: [{ host: hostname, port: Number(port) }],
        targetName,
        lun: 0,
        initiatorName: connector.initiator ?? '',
        timeoutMs: 5000,
      },
      uncancelled(),
    )
    return true
  } catch {
    return false
  }
}

const variants: Readonly<Record<string, Variant>> = {
  'API 2.2, product 3.3': new Variant('3.3.0.0', {}),
  'API 2.2, product 3.2': new Variant('3.2.4.0', {}),
  'API 2.1, product 3.2': new Variant('3.2.4.0', { apiVersion: '2.1' }),
}
for (const [name, variant] of Object.entries(variants)) {
  volumeDriverConformance(`datera, ${name}`, () => variant.fixture())
}
