import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Gate } from './gate.ts'

test('two that came at the same moment are still alone one after the other', async () => {
  const gate = new Gate()
  let inside = 0
  let most = 0
  const alone = async (): Promise<void> => {
    inside++
    most = Math.max(most, inside)
    await new Promise(setImmediate)
    inside--
  }
  await Promise.all([gate.exclusive(alone), gate.exclusive(alone), gate.exclusive(alone)])
  assert.equal(most, 1)
})

test('whoever wants to be alone waits for those inside, and those who come later wait for it', async () => {
  const gate = new Gate()
  const order: string[] = []
  let finish = (): void => {}
  const first = gate.shared(async () => {
    await new Promise<void>((resolve) => {
      finish = resolve
    })
    order.push('shared')
  })
  const alone = gate.exclusive(() => {
    order.push('alone')
  })
  const later = gate.shared(async () => {
    order.push('later')
  })
  assert.equal(gate.open, false)
  await new Promise(setImmediate)
  assert.deepEqual(order, [])
  finish()
  await Promise.all([first, alone, later])
  assert.deepEqual(order, ['shared', 'alone', 'later'])
  assert.equal(gate.open, true)
})

test('the gate opens again after an operation that failed', async () => {
  const gate = new Gate()
  await assert.rejects(
    gate.exclusive(() => {
      throw new Error('no')
    }),
    /no/,
  )
  assert.equal(await gate.exclusive(() => 'yes'), 'yes')
})
