import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Misconfigured } from '../kernel/errors.ts'
import { Policy } from './policy.ts'
import { PolicyRules } from './policy-rules.ts'
import { identities } from './testing.ts'

const { alice, reader, admin, service } = identities
assert.ok(alice !== undefined && reader !== undefined && admin !== undefined && service !== undefined)

function check(rule: string, target: Record<string, string> = {}): boolean {
  assert.ok(alice !== undefined)
  return new PolicyRules({ tested: rule, other: 'role:member' }).check('tested', alice, target)
}

test('rules are read as oslo.policy reads them', () => {
  assert.equal(check(''), true)
  assert.equal(check('@'), true)
  assert.equal(check('!'), false)
  assert.equal(check('role:MEMBER'), true)
  assert.equal(check('role:admin or role:member'), true)
  assert.equal(check('role:admin and role:member'), false)
  assert.equal(check('not role:admin'), true)
  assert.equal(check('not (role:admin or role:member)'), false)
  assert.equal(check('role:member or role:admin and role:nobody'), true, 'and binds tighter')
  assert.equal(check('rule:other'), true)
  assert.equal(check('project_id:%(project_id)s', { project_id: 'project-a' }), true)
  assert.equal(check('(project_id:%(project_id)s)', { project_id: 'project-b' }), false)
  assert.equal(check('project_id:%(project_id)s'), false, 'what is not there equals nothing')
  assert.equal(check("'public':%(visibility)s", { visibility: 'public' }), true)
  assert.equal(check('user_id:user-alice'), true)
})

test('a rule that names itself ends, and one that cannot be read is refused', () => {
  assert.ok(alice !== undefined)
  assert.equal(new PolicyRules({ loop: 'rule:loop' }).check('loop', alice, {}), false)
  for (const rule of ['role:a or', '(role:a', 'role:a)', 'nonsense', 'role:a role:b', 'http://x/y']) {
    assert.throws(() => new PolicyRules({ rule }), Misconfigured, rule)
  }
})

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
