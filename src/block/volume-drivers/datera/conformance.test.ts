import { EdfClient } from '@emberglass/edf'
import { openIscsiDisk } from '@emberglass/iscsi'
import { uncancelled } from '../../../kernel/call.ts'
import { type VolumeDriverFixture, volumeDriverConformance } from '../../volume-driver.conformance.ts'
import type { BackendVolume, Connector } from '../../volume-driver.ts'
import { TestArray } from './array.test-support.ts'
import type { DateraSettings } from './options.ts'

/** A driver on an array of its own, which the suite looks at with a client of its own. */
async function fixtureOn(
  productVersion: string,
  settings: Partial<DateraSettings>,
): Promise<VolumeDriverFixture> {
  const array = await TestArray.start({ productVersion })
  const client = await EdfClient.connect(
    {
      host: '127.0.0.1',
      port: Number(new URL(array.node.httpUrl).port),
      tls: false,
      login: array.node.login,
      password: array.node.password,
      driver: 'test',
    },
    uncancelled(),
  )
  const volumes = async () => await client.in('/root').appInstances.list({}, uncancelled())
  return {
    driver: array.driver(settings),
    reopen: async () => array.driver(settings),
    leftovers: async () => (await volumes()).map(({ name }) => name),
    reachable: async (volume: BackendVolume, connector: Connector) => {
      const found = (await volumes()).find(({ name }) => name.endsWith(volume.id))
      const access = found?.storage_instances[0]?.access
      const portal = new URL(`iscsi://${array.node.iscsiPortal}`)
      try {
        await using _disk = await openIscsiDisk(
          {
            portals: [{ host: portal.hostname, port: Number(portal.port) }],
            targetName: access?.iqn ?? '',
            lun: 0,
            initiatorName: connector.initiator ?? '',
            timeoutMs: 5000,
            ...(settings.useChap === true
              ? {
                  chap: {
                    username: settings.chapUsername ?? '',
                    password: settings.chapPassword?.reveal() ?? '',
                  },
                }
              : {}),
          },
          uncancelled(),
        )
        return true
      } catch {
        return false
      }
    },
    [Symbol.asyncDispose]: async () => {
      await client.close()
      await array[Symbol.asyncDispose]()
    },
  }
}

volumeDriverConformance('datera, API 2.2, product 3.3', () => fixtureOn('3.3.0.0', {}))
volumeDriverConformance('datera, API 2.1, product 3.2', () => fixtureOn('3.2.4.0', { apiVersion: '2.1' }))
