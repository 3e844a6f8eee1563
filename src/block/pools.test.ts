import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GiB } from '../kernel/bytes.ts'
import { onEachEngine } from '../kernel/db/testing.ts'
import { driverDefinition, startTestBlock } from './testing.ts'
import { MemoryVolumeDriver } from './volume-drivers/memory.ts'

onEachEngine((engine) => {
  test(`settings of the driver and functions of the scheduler reach the API, on ${engine.name}`, async () => {
    const property = {
      title: 'Speed',
      description: 'How fast.',
      type: 'integer',
      minimum: 0,
      default: 50,
    } as const
    const definition = driverDefinition(({ volumeBackendName }) => {
      const driver = new MemoryVolumeDriver({ poolName: volumeBackendName, capacityBytes: 100 * GiB })
      const capabilities = { properties: async () => ({ 'XX:speed': property }) }
      return Object.assign(driver, { capabilities })
    })
    const first = { volume_driver: 'memory', filter_function: 'volume.size < 10', goodness_function: '70' }
    await using block = await startTestBlock(engine, {
      config: { DEFAULT: { enabled_backends: 'first' }, first },
      drivers: [definition],
    })
    const { body } = await block.request('admin', 'GET', '/capabilities/node@first')
    assert.deepEqual(body.properties['XX:speed'], property)
    assert.deepEqual(Object.keys(body.properties.qos), ['title', 'description', 'type'])
    const pools = await block.request('admin', 'GET', '/scheduler-stats/get_pools?detail=true')
    const [{ capabilities }] = pools.body.pools
    assert.equal(capabilities.filter_function, 'volume.size < 10')
    assert.equal(capabilities.goodness_function, '70')
  })
})
