import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sessions, type SessionUser } from './sessions.ts'

const user: SessionUser = {
  userId: 'admin',
  tenants: ['/root'],
  roles: ['admin'],
  privileges: new Set(['read']),
}

test('a session lives on while it is used, and ends when it is not', () => {
  let now = 0
  const sessions = new Sessions(1000, () => now)
  const key = sessions.open(user)
  now = 900
  assert.equal(sessions.use(key), user)
  now = 1800
  assert.equal(sessions.use(key), user)
  now = 2801
  assert.equal(sessions.use(key), undefined)
  assert.equal(sessions.use('unknown'), undefined)
})

test('a new login leaves older sessions alone; closing all of a user ends them', () => {
  const sessions = new Sessions()
  const [first, second] = [sessions.open(user), sessions.open(user)]
  const other = sessions.open({ ...user, userId: 'other' })
  assert.notEqual(first, second)
  sessions.close(second)
  assert.equal(sessions.use(second), undefined)
  assert.ok(sessions.use(first))
  sessions.closeAllOf('admin')
  assert.equal(sessions.use(first), undefined)
  assert.ok(sessions.use(other))
})
