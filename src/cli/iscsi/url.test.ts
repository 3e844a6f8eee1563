import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Invalid } from '../../kernel/errors.ts'
import { parseDiskUrl, parsePortalUrl } from './url.ts'

const disk = { targetName: 'iqn.2026-01.test:disk', lun: 3 }
const portal = { host: '192.0.2.7', port: 3260 }

test('a disk has a portal, a target and a LUN', () => {
  assert.deepEqual(parseDiskUrl('iscsi://192.0.2.7/iqn.2026-01.test:disk/3', {}), { ...disk, portal })
  assert.deepEqual(parseDiskUrl('iscsi://[2001:db8::7]:9/iqn.2026-01.test:disk/3', {}), {
    ...disk,
    portal: { host: '2001:db8::7', port: 9 },
  })
})

test('secrets stand in the URL or in the environment', () => {
  const chap = { username: 'user', password: 'p@ss%word' }
  assert.deepEqual(parseDiskUrl('iscsi://user%p@ss%word@192.0.2.7/iqn.2026-01.test:disk/3', {}).chap, chap)
  const environment = {
    LIBISCSI_CHAP_USERNAME: 'other',
    LIBISCSI_CHAP_PASSWORD: 'p@ss%word',
    LIBISCSI_CHAP_TARGET_USERNAME: 'disk',
    LIBISCSI_CHAP_TARGET_PASSWORD: 'proof',
  }
  const mutual = { username: 'disk', password: 'proof' }
  assert.deepEqual(parsePortalUrl('iscsi://user@192.0.2.7', environment).chap, { ...chap, mutual })
  assert.deepEqual(parsePortalUrl('iscsi://192.0.2.7', environment).chap, {
    ...chap,
    username: 'other',
    mutual,
  })
  assert.deepEqual(parsePortalUrl('iscsi://192.0.2.7', {}), { portal })
  const query = '?target_user=disk&target_password=proof'
  assert.deepEqual(
    parseDiskUrl(`iscsi://user%p@192.0.2.7/iqn.2026-01.test:disk/3${query}`, {}).chap?.mutual,
    mutual,
  )
})

test('anything else is refused, and no secret is repeated', () => {
  for (const text of [
    'http://user%secret@h/iqn.a/0',
    'iscsi://user%secret@/iqn.a/0',
    'iscsi://user%secret@h/iqn.a',
    'iscsi://user%secret@h/iqn.a/0/1',
    'iscsi://user%secret@h/iqn.a/x',
    'iscsi://user%secret@h:99999/iqn.a/0',
    'iscsi://user%secret@h/%E0%A4%A/0',
  ]) {
    assert.throws(
      () => parseDiskUrl(text, {}),
      (error: unknown) => error instanceof Invalid && !error.message.includes('secret@'),
      text,
    )
  }
  assert.throws(() => parseDiskUrl('iscsi://user@h/iqn.a/0', {}), /no secret for 'user'/)
})
