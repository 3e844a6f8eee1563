import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Misconfigured } from '../errors.ts'
import type { Identity } from '../http/request-context.ts'
import { PolicyRules } from './rules.ts'

const alice: Identity = {
  userId: 'user-alice',
  userName: 'alice',
  userDomainId: 'default',
  projectId: 'project-a',
  projectName: 'a',
  projectDomainId: 'default',
  domainId: undefined,
  systemScope: false,
  roles: ['member', 'reader'],
  expiresAt: new Date(0),
}

function check(rule: string, target: Record<string, string> = {}): boolean {
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
  assert.equal(check('role:%(needed)s', { needed: 'reader' }), true)
  assert.equal(check('project_id:%(project_id)s', { project_id: 'project-a' }), true)
  assert.equal(check('(project_id:%(project_id)s)', { project_id: 'project-b' }), false)
  assert.equal(check('project_id:%(project_id)s'), false, 'what is not there equals nothing')
  assert.equal(check('project_id:%(target.project.id)s', { 'target.project.id': 'project-a' }), true)
  assert.equal(check("'public':%(visibility)s", { visibility: 'public' }), true)
  assert.equal(check('"public":%(visibility)s', { visibility: 'private' }), false)
  assert.equal(check('True:%(shared)s', { shared: 'True' }), true)
  assert.equal(check('user_id:user-alice'), true)
})

test('the administrator is whom the rule context_is_admin names', () => {
  const admin = { ...alice, roles: ['admin'] }
  assert.equal(check('is_admin:True'), false)
  assert.equal(check('is_admin:False'), true)
  const standard = new PolicyRules({ tested: 'is_admin:True' })
  assert.equal(standard.check('tested', admin, {}), true)
  const own = new PolicyRules({ tested: 'is_admin:True', context_is_admin: 'role:member' })
  assert.equal(own.check('tested', alice, {}), true)
  assert.equal(own.check('tested', admin, {}), false)
})

test('an unknown rule is the default one, and without that nobody passes', () => {
  assert.equal(new PolicyRules({ default: '@' }).check('unheard-of', alice, {}), true)
  assert.equal(new PolicyRules({}).check('unheard-of', alice, {}), false)
})

test('a rule that names itself ends, and one that cannot be read is refused', () => {
  assert.equal(new PolicyRules({ loop: 'rule:loop' }).check('loop', alice, {}), false)
  for (const rule of ['role:a or', '(role:a', 'role:a)', 'nonsense', 'role:a role:b', 'http://x/y']) {
    assert.throws(() => new PolicyRules({ rule }), Misconfigured, rule)
  }
})
