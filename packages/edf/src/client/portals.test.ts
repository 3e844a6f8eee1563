import assert from 'node:assert/strict'
import { test } from 'node:test'
import { masked } from './exchange.ts'
import { containing } from './filter.ts'
import { portalsOf, portalText } from './portals.ts'
import { productAtLeast } from './product.ts'

const instance = (ips: string[], more: object = {}) => ({
  path: '/app_instances/a/storage_instances/s',
  name: 's',
  admin_state: 'online' as const,
  op_state: 'available',
  volumes: [],
  access: { ips, iqn: 'iqn.2013-05.com.daterainc:tc:01:sn:0123456789abcdef', ...more },
})

test('each access address is one portal, IPv6 in brackets', () => {
  const portals = portalsOf(instance(['192.0.2.1', '2001:db8::1', '192.0.2.1']), 3260)
  assert.deepEqual(portals.map(portalText), ['192.0.2.1:3260', '[2001:db8::1]:3260'])
})

test('an address that names its port keeps it', () => {
  const portals = portalsOf(instance(['192.0.2.1:13260', '[2001:db8::1]:13261']), 3260)
  assert.deepEqual(portals.map(portalText), ['192.0.2.1:13260', '[2001:db8::1]:13261'])
})

test('published portals win over plain addresses', () => {
  const portals = portalsOf(instance(['192.0.2.1'], { portals: ['192.0.2.1:9999'] }), 3260)
  assert.deepEqual(portals, [{ host: '192.0.2.1', port: 9999 }])
})

test('an instance without access has no portals', () => {
  const { access: _, ...without } = instance([])
  assert.deepEqual(portalsOf(without, 3260), [])
})

test('product versions are compared number by number, whatever is appended', () => {
  assert.equal(productAtLeast('3.3.0.0', '3.3.0.0'), true)
  assert.equal(productAtLeast('3.10', '3.3.0.0'), true)
  assert.equal(productAtLeast('3.2.99.99', '3.3.0.0'), false)
  assert.equal(productAtLeast('3.3.0.0-rc1', '3.3.0.0'), true)
  assert.equal(productAtLeast('main', '3.3.0.0'), false)
  assert.equal(productAtLeast(undefined, '3.3.0.0'), false)
})

test('filters take texts literally', () => {
  assert.equal(containing('name', 'a.b*(c)'), 'match(name,.*a\\.b\\*\\(c\\).*)')
})

test('masking reaches nested secrets and leaves empty ones', () => {
  const shown = masked({
    auth: [{ target_pswd: 'x', initiator_pswd: '', user: 'u' }],
    key: 'k',
    password: 'p',
  })
  assert.deepEqual(shown, {
    auth: [{ target_pswd: '•••', initiator_pswd: '', user: 'u' }],
    key: '•••',
    password: '•••',
  })
})
