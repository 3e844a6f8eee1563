import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Policy } from './policy.ts'
import { identities } from './testing.ts'

const { alice, reader, admin, service } = identities
assert.ok(alice !== undefined && reader !== undefined && admin !== undefined && service !== undefined)

test('the defaults are those of the personas', () => {
  const policy = new Policy()
  const own = { project_id: 'project-a', visibility: 'private' }
  const foreign = { project_id: 'project-b', visibility: 'public' }
  assert.equal(policy.allows('get_image', reader, own), true)
  assert.equal(policy.allows('modify_image', reader, own), false)
  assert.equal(policy.allows('modify_image', alice, own), true)
  assert.equal(policy.allows('modify_image', alice, foreign), false)
  assert.equal(policy.allows('download_image', alice, foreign), true)
  assert.equal(policy.allows('download_image', reader, foreign), false)
  assert.equal(policy.allows('publicize_image', admin, own), true)
  assert.equal(policy.allows('stores_info_detail', service), true)
  assert.equal(policy.allows('get_images', { ...admin, systemScope: true }), false)
  const open = new Policy({ publicize_image: 'role:member' })
  assert.equal(open.allows('publicize_image', alice, own), true)
})

test('the older defaults ask for no role in the project, and for admin where they always did', () => {
  const policy = new Policy({}, { older: true })
  const own = { project_id: 'project-a', visibility: 'private' }
  const nobody = { ...alice, roles: ['some-role'] }
  assert.equal(policy.allows('modify_image', nobody, own), true)
  assert.equal(policy.allows('get_images', nobody, own), true)
  assert.equal(policy.allows('modify_image', nobody, { ...own, project_id: 'project-b' }), false)
  assert.equal(policy.allows('publicize_image', nobody, own), false)
  assert.equal(policy.allows('fetch_image_location', nobody, own), false)
})
