import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Invalid } from '../../../kernel/errors.ts'
import { typeOf } from './driver.test-support.ts'
import { driverPolicy, hardDefaults, volumePolicy } from './policies.ts'
import { isLimited, limitsFor, sameLimits } from './quality-of-service.ts'

const silent = () => {}
const policyOf = (
  defaults: Record<string, string>,
  extraSpecs: Record<string, string> = {},
  qosSpecs: Record<string, string> = {},
) => volumePolicy(driverPolicy(defaults, false, silent), typeOf(extraSpecs, qosSpecs), silent)

test('hard defaults, driver-wide defaults, extra specs, QoS specs: later ones win', () => {
  assert.equal(policyOf({}).replica_count, 3)
  assert.equal(policyOf({ replica_count: '2' }).replica_count, 2)
  assert.equal(policyOf({ replica_count: '2' }, { 'DF:replica_count': '4' }).replica_count, 4)
  const all = policyOf(
    { total_iops_max: '50' },
    { 'DF:total_iops_max': '60' },
    { 'DF:total_iops_max': '70', read_iops_max: '80', unknown: 'x' },
  )
  assert.equal(all.total_iops_max, 70)
  assert.equal(all.read_iops_max, 80, 'bare names count in QoS specs')
})

test('the debug override is a default only', () => {
  assert.equal(driverPolicy({}, true, silent).replica_count, 1)
  assert.equal(driverPolicy({ replica_count: '2' }, true, silent).replica_count, 2)
})

test('a volume without a type has the driver-wide policy, limits included', () => {
  const base = driverPolicy({ total_iops_max: '50' }, false, silent)
  assert.equal(volumePolicy(base, undefined, silent).total_iops_max, 50)
})

test('only the prefix DF: counts in extra specs', () => {
  const policy = policyOf({}, { 'qos:total_iops_max': '5', total_iops_max: '6', 'df:total_iops_max': '7' })
  assert.equal(policy.total_iops_max, 0)
})

test('booleans are read in every usual notation', () => {
  for (const yes of ['True', 'true', '1', 'yes', 'YES', '<is> True']) {
    assert.equal(policyOf({}, { 'DF:round_robin': yes }).round_robin, true, yes)
  }
  for (const no of ['False', 'false', '0', 'no', '<is> False']) {
    assert.equal(policyOf({}, { 'DF:round_robin': no }).round_robin, false, no)
  }
})

test('a template may be called 42', () => {
  assert.equal(policyOf({}, { 'DF:template': '42' }).template, '42')
})

test('impossible values are refused, naming key, value and what is allowed', () => {
  const wrong: readonly (readonly [string, string])[] = [
    ['DF:replica_count', '6'],
    ['DF:replica_count', '0'],
    ['DF:replica_count', 'many'],
    ['DF:total_iops_max', '-1'],
    ['DF:total_iops_max', '10000001'],
    ['DF:read_bandwidth_max', '1.5'],
    ['DF:placement_mode', 'tape'],
    ['DF:round_robin', 'perhaps'],
  ]
  for (const [key, value] of wrong) {
    assert.throws(
      () => policyOf({}, { [key]: value }),
      (error) => error instanceof Invalid && error.message.includes(key) && error.message.includes(value),
      `${key}=${value}`,
    )
  }
})

test('unknown and removed settings warn', () => {
  const warnings: string[] = []
  const type = typeOf({ 'DF:replicacount': '2', 'DF:acl_allow_all': 'true' })
  assert.deepEqual(
    volumePolicy(hardDefaults, type, (message) => warnings.push(message)),
    hardDefaults,
  )
  assert.equal(warnings.length, 2)
})

test('limits per GiB and totals: the lesser of those that are set', () => {
  const table: readonly (readonly [number, number, number, number])[] = [
    // per GiB, GiB, total, expected
    [100, 5, 0, 500],
    [100, 5, 300, 300],
    [100, 5, 3000, 500],
    [0, 5, 300, 300],
    [0, 5, 0, 0],
    [10_000_000, 5, 0, 10_000_000],
  ]
  for (const [perGib, size, total, expected] of table) {
    const iops = { ...hardDefaults, iops_per_gb: perGib, total_iops_max: total }
    assert.equal(limitsFor(iops, size).total_iops_max, expected, `${perGib} × ${size}, total ${total}`)
  }
  const bandwidth = { ...hardDefaults, bandwidth_per_gb: 1000, total_bandwidth_max: 2500 }
  assert.equal(limitsFor(bandwidth, 2).total_bandwidth_max, 2000)
  assert.equal(limitsFor(bandwidth, 3).total_bandwidth_max, 2500)
})

test('no limit and limits of zero are the same', () => {
  const none = limitsFor(hardDefaults, 1)
  assert.equal(isLimited(none), false)
  assert.equal(sameLimits(undefined, none), true)
  assert.equal(sameLimits({ total_iops_max: 5 }, none), false)
})
