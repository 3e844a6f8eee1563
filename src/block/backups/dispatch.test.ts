import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseHandler, keyInName } from './dispatch.ts'

const enabled = ['datera', 'ceph', 'posix']
const choose = (name: string | null) => chooseHandler(name, { primary: 'datera', enabled, dispatching: true })

test('the text before the first underscore of a name chooses a driver, in any case', () => {
  for (const [name, expected] of [
    [null, 'datera'],
    ['', 'datera'],
    ['datera_nightly', 'datera'],
    ['ceph_nightly', 'ceph'],
    ['CEPH_nightly', 'ceph'],
    ['posix_a_b', 'posix'],
    ['nightly', 'datera'],
    ['ceph', 'datera'],
    ['ceph-nightly', 'datera'],
    ['my_ceph_nightly', 'datera'],
    ['_ceph', 'datera'],
    ['cephalopod_x', 'datera'],
    // driver kinds that operators know are not replaced by another one when they are not enabled
    ['swift_x', 'swift'],
    ['s3_x', 's3'],
    ['nfs_x', 'nfs'],
    ['glusterfs_x', 'glusterfs'],
    ['gcs_x', 'gcs'],
    ['google_x', 'google'],
  ] as const) {
    assert.equal(choose(name), expected, String(name))
  }
})

test('without the Datera driver in front, names choose nothing', () => {
  const others = { primary: 'swift', enabled: ['swift'], dispatching: false }
  assert.equal(chooseHandler('ceph_x', others), 'swift')
  assert.equal(keyInName('ceph_x', others.enabled), 'ceph')
})
