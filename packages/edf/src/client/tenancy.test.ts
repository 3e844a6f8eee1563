import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TestArray } from './array.test-support.ts'
import { parseTenant, Tenants, tenantOf } from './tenancy.ts'

const call = { signal: new AbortController().signal }

test('every configured form of a tenant leads to one place', () => {
  const project = '3d2c5a4f8b1e4c9db7a6f0e1d2c3b4a5'
  const table: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, '/root'],
    ['', '/root'],
    ['  ', '/root'],
    ['root', '/root'],
    ['/root', '/root'],
    ['alpha', '/root/alpha'],
    ['/alpha', '/root/alpha'],
    ['root/alpha', '/root/alpha'],
    ['/root/alpha', '/root/alpha'],
    ['/root/alpha/beta', '/root/alpha/beta'],
    ['rootbeer', '/root/rootbeer'],
    ['Map', `/root/OS-${project}`],
    ['MAP', `/root/OS-${project}`],
    ['None', undefined],
    ['none', undefined],
  ]
  for (const [configured, expected] of table) {
    assert.equal(tenantOf(parseTenant(configured), project), expected, `datera_tenant_id = ${configured}`)
  }
})

test('tenants that the array cannot have are refused', () => {
  for (const wrong of ['all', 'ALL', 'a', 'alpha//beta', '1abc', 'sp ace', '/root//x', 'x'.repeat(65)]) {
    assert.throws(() => parseTenant(wrong), RangeError, wrong)
  }
})

test('a tenant is made once, level by level, however many ask at once', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const tenants = new Tenants(client, (tenant) => assert.fail(`refused ${tenant}`))
  array.proxy.seen.length = 0
  await Promise.all(Array.from({ length: 10 }, () => tenants.ensure('/root/alpha/beta', call)))
  await tenants.ensure('/root/alpha', call)
  await tenants.ensure('/root', call)
  await tenants.ensure(undefined, call)
  const posts = array.proxy.seen.filter(({ method }) => method === 'POST')
  assert.equal(posts.length, 2)
  assert.equal(array.proxy.seen.length, 4)
  assert.deepEqual(await client.in('/root/alpha/beta').appInstances.list({}, call), [])
})

test('an account that may not make tenants is told so, and the call goes on', async () => {
  await using array = await TestArray.start()
  await using client = await array.connect()
  const forbidden = {
    status: 403,
    body: { name: 'PermissionDeniedError', code: 7, http: 403, message: 'no' },
  }
  array.proxy.decide = ({ method }) => (method === 'POST' ? forbidden : 'pass')
  const refused: string[] = []
  await new Tenants(client, (tenant) => refused.push(tenant)).ensure('/root/alpha', call)
  assert.deepEqual(refused, ['/root/alpha'])
})
