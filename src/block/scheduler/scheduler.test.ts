import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GiB } from '../../kernel/bytes.ts'
import { satisfies } from './extra-spec.ts'
import { type Candidate, sizeLimitProblem } from './pools.ts'
import { schedule } from './schedule.ts'

function pool(host: string, facts: Partial<Candidate> = {}): Candidate {
  return {
    host,
    availabilityZone: 'nova',
    totalBytes: 100 * GiB,
    freeBytes: 100 * GiB,
    provisionedBytes: 0,
    reservedPercentage: 0,
    overSubscriptionRatio: 20,
    capabilities: {},
    ...facts,
  }
}

const hosts = (pools: readonly Candidate[]) => pools.map(({ host }) => host)
const small = { sizeBytes: GiB, availabilityZone: undefined, extraSpecs: {} }

test('the pool with the most room comes first', () => {
  const pools = [pool('a@x#p', { freeBytes: 5 * GiB }), pool('b@x#p', { freeBytes: 50 * GiB })]
  assert.deepEqual(hosts(schedule(pools, small)), ['b@x#p', 'a@x#p'])
})

test('a thick pool gives what is free, a thin one what may be promised', () => {
  const thin = { thin_provisioning_support: true }
  const pools = [
    pool('thick@x#p', { freeBytes: 10 * GiB }),
    pool('thin@x#p', { freeBytes: 10 * GiB, capabilities: thin }),
    pool('promised@x#p', { capabilities: thin, provisionedBytes: 1_999 * GiB }),
  ]
  assert.deepEqual(hosts(schedule(pools, { ...small, sizeBytes: 11 * GiB })), ['thin@x#p'])
  const thick = { 'provisioning:type': 'thick' }
  assert.deepEqual(hosts(schedule(pools, { ...small, sizeBytes: 11 * GiB, extraSpecs: thick })), [])
})

test('the reserved share of a pool is kept free', () => {
  const reserved = [pool('a@x#p', { reservedPercentage: 95 })]
  assert.deepEqual(hosts(schedule(reserved, { ...small, sizeBytes: 5 * GiB })), ['a@x#p'])
  assert.deepEqual(hosts(schedule(reserved, { ...small, sizeBytes: 6 * GiB })), [])
})

test('zone, capabilities, source backend and failed pools narrow the choice', () => {
  const pools = [
    pool('a@x#p', { availabilityZone: 'mars', capabilities: { volume_backend_name: 'gold' } }),
    pool('b@y#p', { capabilities: { volume_backend_name: 'gold', nested: { level: '2' } } }),
    pool('c@z#p', { capabilities: { volume_backend_name: 'lead' } }),
  ]
  const choose = (facts: object) => hosts(schedule(pools, { ...small, ...facts }))
  assert.deepEqual(choose({ availabilityZone: 'mars' }), ['a@x#p'])
  assert.deepEqual(choose({ extraSpecs: { volume_backend_name: 'gold' } }), ['a@x#p', 'b@y#p'])
  assert.deepEqual(choose({ extraSpecs: { 'capabilities:nested:level': '>= 2' } }), ['b@y#p'])
  assert.deepEqual(choose({ extraSpecs: { 'DF:replica_count': '3' } }).length, 3)
  assert.deepEqual(choose({ extraSpecs: { unheard_of: 'x' } }), [])
  assert.deepEqual(choose({ onBackend: 'c@z' }), ['c@z#p'])
  assert.deepEqual(choose({ excluded: ['a@x#p', 'b@y#p'] }), ['c@z#p'])
})

test('extra specs compare as upstream does', () => {
  const cases: readonly (readonly [unknown, string, boolean])[] = [
    ['SSD', 'SSD', true],
    ['SSD', 'HDD', false],
    [true, '<is> True', true],
    [false, '<is> True', false],
    [true, 'True', true],
    [4, '= 3', true],
    [4, '== 3', false],
    [4, '!= 3', true],
    [4, '<= 3', false],
    ['abc', 's== abc', true],
    ['abc', 's< abd', true],
    ['a long text', '<in> long', true],
    ['b', '<or> a <or> b', true],
    ['c', '<or> a <or> b', false],
    [['a', 'b'], 'b', true],
    ['x', '>= 3', false],
    [undefined, 'x', false],
  ]
  for (const [capability, demand, expected] of cases) {
    assert.equal(satisfies(capability, demand), expected, `${capability} ${demand}`)
  }
})

test('a type may bound the size of its volumes', () => {
  const specs = { 'provisioning:min_vol_size': '2', 'provisioning:max_vol_size': '4' }
  assert.match(sizeLimitProblem(1, specs) ?? '', /less than the minimum of 2/)
  assert.match(sizeLimitProblem(5, specs) ?? '', /greater than the maximum of 4/)
  assert.equal(sizeLimitProblem(3, specs), undefined)
  assert.equal(sizeLimitProblem(3, {}), undefined)
})
