import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseIpPool, namedPools, reaches } from './ip-pools.ts'
import { appInstanceName, formatLocation, isNameOfVolume, parseLocation } from './naming.ts'

const id = '9b0216bc-8aab-47f2-b746-843f497cb7a6'

test('names carry the display name as far as it fits, and always the whole id', () => {
  const table: readonly (readonly [string, string])[] = [
    ['', `OS-${id}`],
    ['data1', `OS-data1-${id}`],
    ['Müller 日本', `OS-Mller-${id}`],
    ['日本', `OS-${id}`],
    ['a'.repeat(100), `OS-${'a'.repeat(23)}-${id}`],
    [`volume-${id}`, `OS-${id}`],
    ['IMAGE', `OS-${id}`],
  ]
  for (const [displayName, expected] of table) {
    assert.equal(appInstanceName(id, displayName), expected)
    assert.ok(expected.length <= 63)
    assert.ok(isNameOfVolume(expected, id))
  }
})

test('only whole ids are recognised, and images are none', () => {
  assert.equal(isNameOfVolume(`UNMANAGED-${id}`, id), true)
  assert.equal(isNameOfVolume(`OS-IMAGE-${id}`, id), false)
  assert.equal(isNameOfVolume(`BACKUP-${id}`, id), false)
  assert.equal(isNameOfVolume(`OS-${id}-2`, id), false)
  assert.equal(isNameOfVolume(`OS-x${id}`, id), false)
})

test('a place is remembered with its tenant, or without', () => {
  for (const tenant of ['/root', '/root/OS-abc', undefined]) {
    const location = { tenant, appInstanceId: id }
    assert.deepEqual(parseLocation(formatLocation(location)), location)
  }
  assert.equal(parseLocation(undefined), undefined)
  assert.equal(parseLocation('something else'), undefined)
  assert.equal(parseLocation('/root|'), undefined)
})

test('of several pools a volume always gets the same one', () => {
  const pools = new Set(['a', 'b', 'c'])
  const chosen = chooseIpPool('a, b ,c', id)
  assert.ok(pools.has(chosen))
  assert.equal(chooseIpPool('a,b,c', id), chosen)
  assert.deepEqual(namedPools('/access_network_ip_pools/x,y'), ['x', 'y'])
  assert.deepEqual(namedPools(' , '), ['default'])
  const spread = new Set(Array.from({ length: 64 }, (_, index) => chooseIpPool('a,b,c', String(index))))
  assert.equal(spread.size, 3)
})

test('a pool reaches the hosts of its networks', () => {
  const pool = (start: string | undefined, netmask: number) => ({
    path: '/access_network_ip_pools/p',
    name: 'p',
    network_paths: [{ name: 'access_1', netmask, ...(start === undefined ? {} : { start_ip: start }) }],
  })
  assert.equal(reaches(pool('172.28.41.20', 24), '172.28.41.200'), true)
  assert.equal(reaches(pool('172.28.41.20', 24), '172.28.42.1'), false)
  assert.equal(reaches(pool('0.0.0.0', 0), '8.8.8.8'), true)
  assert.equal(reaches(pool('172.28.41.20', 32), '172.28.41.20'), true)
  assert.equal(reaches(pool(undefined, 24), '172.28.41.20'), false)
  assert.equal(reaches(pool('172.28.41.20', 24), '2001:db8::1'), false)
})
