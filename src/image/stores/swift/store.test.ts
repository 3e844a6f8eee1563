import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Invalid, Misconfigured } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'
import { accountLocation, containerOf, parseLocation, referenceLocation } from './location.ts'
import { type SwiftStoreSettings, swiftStoreOptions } from './options.ts'

const id = 'b1ac5967-12aa-4959-b24c-c60dd40d0a13'

test('locations are read in every form, and others are refused without being told', () => {
  assert.deepEqual(parseLocation(referenceLocation('ref1', 'glance', id)), {
    kind: 'reference',
    reference: 'ref1',
    container: 'glance',
    object: id,
  })
  assert.deepEqual(parseLocation(accountLocation('https://swift.example/v1/AUTH_p', `glance_${id}`, id)), {
    kind: 'account',
    storageUrl: 'https://swift.example/v1/AUTH_p',
    container: `glance_${id}`,
    object: id,
  })
  const old = {
    kind: 'credentials',
    authUrl: 'https://keystone.example:5000/v3',
    user: 'service:glance',
    key: 'p@ss/word',
    container: 'glance',
    object: id,
  }
  const credentials = `service%3Aglance:p%40ss%2Fword@keystone.example:5000/v3/glance/${id}`
  assert.deepEqual(parseLocation(`swift+https://${credentials}`), old)
  assert.deepEqual(parseLocation(`swift://${credentials}`), old)
  for (const wrong of ['swift://', `swift+config://a:b@ref1/glance/${id}`, `swift+ftp://h/c/${id}`]) {
    assert.throws(
      () => parseLocation(wrong),
      (error) => error instanceof Invalid && !error.message.includes(wrong),
    )
  }
})

test('the first characters of an id choose its container; dashes do not count', () => {
  assert.equal(containerOf('glance', id, 0), 'glance')
  assert.equal(containerOf('glance', id, 3), 'glance_b1a')
  assert.equal(containerOf('glance', id, 9), 'glance_b1ac5967-1')
  assert.equal(containerOf('glance', id, 32), `glance_${id}`)
})

test('a store without a login, or with a reference file that lacks something, does not start', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'swift-store-'))
  try {
    const referenceFile = join(directory, 'glance-swift.conf')
    const make = async (changes: Partial<SwiftStoreSettings>) =>
      await definition.create(
        { ...defaultsOf<SwiftStoreSettings>(swiftStoreOptions), ...changes },
        testPlace('objects'),
      )
    await assert.rejects(make({}), Misconfigured)
    await assert.rejects(make({ referenceFile }), /cannot be read/)
    const complete = 'user = p:u\nkey = k\nauth_address = http://192.0.2.1/v3\n'
    for (const [text, complaint] of [
      [`[ref2]\n${complete}`, /no section \[ref1\]/],
      ['[ref1]\nuser = p:u\nkey = k\n', /no auth_address/],
      ['[ref1]\nauth_address = http://192.0.2.1/v3\n', /neither user and key/],
      [`[ref1]\n${complete}auth_version = 2\n`, /auth_version 2/],
    ] as const) {
      await writeFile(referenceFile, text)
      await assert.rejects(make({ referenceFile }), complaint)
    }
    await writeFile(referenceFile, `[ref1]\n${complete}`)
    await (await make({ referenceFile }))[Symbol.asyncDispose]()
    const login = { authAddress: 'http://192.0.2.1/v3', user: 'p:u', key: new Secret('k') }
    await (await make(login))[Symbol.asyncDispose]()
    await assert.rejects(make({ ...login, bufferOnUpload: true }), /swift_upload_buffer_dir/)
    await assert.rejects(make({ ...login, applicationCredentialId: 'x' }), Misconfigured)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
