import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { onEachEngine } from '../kernel/db/testing.ts'
import type { Identity } from '../kernel/http/request-context.ts'
import { BlockPolicy } from './policy.ts'
import { startTestBlock } from './testing.ts'

const somebody = (...roles: string[]): Identity => ({
  userId: 'u',
  userName: 'u',
  userDomainId: 'default',
  projectId: 'a',
  projectName: 'a',
  projectDomainId: 'default',
  domainId: undefined,
  systemScope: false,
  roles,
  expiresAt: new Date(0),
})
const reader = somebody('reader')
const member = somebody('member', 'reader')
const admin = somebody('admin', 'member', 'reader')

test('by default readers read, members change, admins do everything', () => {
  const policy = new BlockPolicy()
  assert.equal(policy.allows(reader, 'volume:get', 'a'), true)
  assert.equal(policy.allows(reader, 'volume:get', 'b'), false)
  assert.equal(policy.allows(reader, 'volume:create', 'a'), false)
  assert.equal(policy.allows(member, 'volume:create', 'a'), true)
  assert.equal(policy.allows(member, 'volume_extension:hosts', 'a'), false)
  assert.equal(policy.allows(admin, 'volume_extension:hosts', undefined), true)
  assert.equal(policy.allows(admin, 'volume:delete', 'b'), true)
  assert.equal(policy.allows(somebody(), 'volume:get', 'a'), false)
  assert.equal(policy.allows({ ...admin, projectId: undefined }, 'volume:get', 'a'), false)
})

test('with the old defaults every role in a project may change what is in it', () => {
  const policy = new BlockPolicy({ newDefaults: false })
  assert.equal(policy.allows(reader, 'volume:create', 'a'), true)
  assert.equal(policy.allows(somebody('whatever'), 'volume:get', 'a'), true)
  assert.equal(policy.allows(reader, 'volume:create', 'b'), false)
  assert.equal(policy.allows(reader, 'volume_extension:hosts', 'a'), false)
})

test('overrides win; an old name counts for those that have none of their own', () => {
  const policy = new BlockPolicy()
  policy.override({
    'volume:get': '!',
    'volume_extension:types_manage': 'role:reader',
    'volume_extension:type_delete': 'rule:admin_api',
    admin_api: 'role:storage_admin',
  })
  assert.equal(policy.allows(admin, 'volume:get', 'a'), false)
  assert.equal(policy.allows(reader, 'volume_extension:type_create', 'a'), true)
  assert.equal(policy.allows(reader, 'volume_extension:type_delete', 'a'), false)
  assert.equal(policy.allows(somebody('storage_admin'), 'volume_extension:type_delete', 'a'), true)
  policy.override({})
  assert.equal(policy.allows(admin, 'volume:get', 'a'), true)
})

onEachEngine((engine) => {
  test(`a policy file changes what the API lets through, on ${engine.name}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-block-policy-'))
    const file = join(directory, 'policy.yaml')
    await writeFile(
      file,
      '"volume_extension:services:index": "role:reader"\n"volume:create": "role:nobody-has-this"\n',
    )
    try {
      await using block = await startTestBlock(engine, {
        config: {
          DEFAULT: { enabled_backends: 'first' },
          first: { volume_driver: 'memory' },
          oslo_policy: { policy_file: file },
        },
      })
      assert.equal((await block.request('reader', 'GET', '/os-services')).status, 200)
      const refused = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
      assert.equal(refused.status, 403)
      assert.equal(refused.body.forbidden.message, "Policy doesn't allow volume:create to be performed.")
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
