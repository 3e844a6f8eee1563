import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GiB } from '../../kernel/bytes.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { startTestBlock } from '../testing.ts'
import { automaticOverSubscription } from './candidates.ts'
import type { Candidate } from './pools.ts'
import { defaultRules, schedule } from './schedule.ts'

const pool = (host: string, capabilities: Readonly<Record<string, unknown>> = {}): Candidate => ({
  host,
  availabilityZone: 'nova',
  totalBytes: 100 * GiB,
  freeBytes: 100 * GiB,
  provisionedBytes: 0,
  reservedPercentage: 0,
  overSubscriptionRatio: 20,
  capabilities,
})
const wanted = { sizeBytes: 4 * GiB, availabilityZone: 'nova', extraSpecs: {} }
const hosts = (pools: readonly Candidate[]) => pools.map(({ host }) => host)

test('only the filters that are configured decide, and functions that fail reject', () => {
  const pools = [
    pool('a@x#p', { filter_function: 'volume.size < 4' }),
    pool('b@x#p', { filter_function: 'volume.size >= 4' }),
    pool('c@x#p', { filter_function: 'volume.nothing > 1' }),
  ]
  assert.equal(schedule(pools, wanted).length, 3)
  const rules = { ...defaultRules, filters: ['DriverFilter'] }
  assert.deepEqual(hosts(schedule(pools, wanted, rules)), ['b@x#p'])
})

test('weighers are added up, each by its multiplier', () => {
  const pools = [
    pool('few@x#p', { total_volumes: 1, goodness_function: '10' }),
    pool('good@x#p', { total_volumes: 9, goodness_function: '(volume.size < 5) * 90' }),
  ]
  const best = (weighers: readonly string[], multipliers = {}) =>
    schedule(pools, wanted, {
      ...defaultRules,
      weighers,
      multipliers: { ...defaultRules.multipliers, ...multipliers },
    })[0]?.host
  assert.equal(best(['VolumeNumberWeigher']), 'few@x#p')
  assert.equal(best(['GoodnessWeigher']), 'good@x#p')
  assert.equal(best(['GoodnessWeigher', 'VolumeNumberWeigher'], { VolumeNumberWeigher: -5 }), 'few@x#p')
  assert.equal(best(['VolumeNumberWeigher'], { VolumeNumberWeigher: 1 }), 'good@x#p')
})

test('a pool of unknown size takes everything, unless a share of it is to be kept free', () => {
  const endless = { ...pool('a@x#p'), totalBytes: Number.POSITIVE_INFINITY }
  assert.equal(schedule([endless], wanted).length, 1)
  assert.equal(schedule([{ ...endless, reservedPercentage: 5 }], wanted).length, 0)
})

onEachEngine((engine) => {
  test(`hints keep volumes together or apart, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, {
      config: {
        DEFAULT: {
          enabled_backends: 'one,two',
          scheduler_default_filters: 'CapacityFilter,SameBackendFilter,DifferentBackendFilter',
        },
        one: { volume_driver: 'memory' },
        two: { volume_driver: 'memory' },
      },
    })
    const create = async (hints: object) => {
      const made = await block.request('member', 'POST', '/volumes', {
        body: { volume: { size: 1 }, 'OS-SCH-HNT:scheduler_hints': hints },
      })
      assert.equal(made.status, 202, made.text)
      const { id } = made.body.volume
      const shown = await block.until(`/volumes/${id}`, 'volume', 'available')
      return { id, host: shown.body.volume['os-vol-host-attr:host'] }
    }
    const first = await create({})
    assert.equal((await create({ same_host: [first.id] })).host, first.host)
    const apart = await create({ different_host: first.id })
    assert.notEqual(apart.host, first.host)
    const both = {
      'OS-SCH-HNT:scheduler_hints': { different_host: [first.id, apart.id] },
      volume: { size: 1 },
    }
    const nowhere = await block.request('member', 'POST', '/volumes', { body: both })
    await block.until(`/volumes/${nowhere.body.volume.id}`, 'volume', 'error')
  })
})

test('an automatic ratio of over-subscription follows what has been written of what was promised', () => {
  const GiB = 1024 ** 3
  assert.equal(automaticOverSubscription({ totalBytes: 100 * GiB, freeBytes: 91 * GiB }, 0), 20)
  assert.equal(automaticOverSubscription({ totalBytes: 100 * GiB, freeBytes: 91 * GiB }, 40 * GiB), 5)
})
