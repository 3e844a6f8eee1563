import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IscsiError } from '../errors.ts'
import { ChapAuthenticator } from '../login/chap.ts'
import { encodeText, type KeyValue, parseText, uniqueKeys } from '../login/text.ts'
import { decodeLoginRequest } from '../pdu/login-request.ts'
import type { LoginResponse } from '../pdu/login-response.ts'
import { LoginExchange, type LoginIdentity, type LoginPdu } from './login-exchange.ts'

const isid = Buffer.from('800102030405', 'hex')
const random = Buffer.from('33'.repeat(17), 'hex')
const names = { initiatorName: 'iqn.2026-01.test:me', targetName: 'iqn.2026-01.test:disk' }
const chap = { username: 'user', password: 'a secret of 16 b' }
const mutual = { ...chap, mutual: { username: 'disk', password: 'another one of 20 b.' } }

const exchange = (identity: LoginIdentity = names) => new LoginExchange(identity, isid, random)

function response(fields: Partial<LoginResponse> = {}): LoginResponse {
  return {
    transit: false,
    continued: false,
    currentStage: 1,
    nextStage: 0,
    versionMax: 0,
    versionActive: 0,
    isid,
    tsih: 0,
    initiatorTaskTag: 0,
    statSn: 100,
    expCmdSn: 1,
    maxCmdSn: 32,
    status: 0,
    dataLength: 0,
    ...fields,
  }
}

const text = (...pairs: KeyValue[]) => encodeText(pairs)
const keysOf = (pdu: LoginPdu) => uniqueKeys(parseText(pdu.text))
const code = (expected: string) => (error: unknown) => error instanceof IscsiError && error.code === expected

function sent(step: ReturnType<LoginExchange['next']>): LoginPdu {
  assert.equal(step.kind, 'send')
  return step.kind === 'send' ? step.pdu : assert.fail()
}

test('without a secret one request and one answer make the login', () => {
  const login = exchange()
  const first = login.start()
  const request = decodeLoginRequest(first.header)
  assert.deepEqual([request.currentStage, request.nextStage, request.transit, request.tsih], [1, 3, true, 0])
  assert.equal(keysOf(first).get('TargetName'), names.targetName)
  const step = login.next(
    response({ transit: true, nextStage: 3, tsih: 5 }),
    text(['InitialR2T', 'Yes'], ['ImmediateData', 'No'], ['MaxRecvDataSegmentLength', '65536']),
  )
  assert.ok(step.kind === 'done')
  assert.equal(step.parameters.initialR2T, true)
  assert.equal(step.parameters.immediateData, false)
  assert.equal(step.parameters.peerMaxRecvDataSegmentLength, 65536)
})

test('a target with keys of its own to say is asked again, and unknown keys are answered', () => {
  const login = exchange()
  login.start()
  const again = sent(login.next(response(), text(['MaxRecvDataSegmentLength', '8192'], ['X-peer', '1'])))
  assert.deepEqual(parseText(again.text), [['X-peer', 'NotUnderstood']])
  const request = decodeLoginRequest(again.header)
  assert.deepEqual([request.transit, request.expStatSn], [true, 101])
  assert.equal(login.next(response({ transit: true, nextStage: 3 }), Buffer.alloc(0)).kind, 'done')
})

test('an answer cut into several PDUs is put together', () => {
  const login = exchange()
  login.start()
  const whole = text(['TargetAlias', 'a disk'], ['InitialR2T', 'No'])
  const more = sent(login.next(response({ continued: true }), whole.subarray(0, 15)))
  assert.equal(more.text.byteLength, 0)
  assert.equal(decodeLoginRequest(more.header).transit, false)
  const step = login.next(response({ transit: true, nextStage: 3 }), whole.subarray(15))
  assert.ok(step.kind === 'done' && step.parameters.initialR2T === false)
})

for (const [name, identity] of Object.entries({ 'one-way': chap, mutual })) {
  test(`${name} CHAP: the secret is proven, then the operational keys are settled`, () => {
    const target = new ChapAuthenticator([mutual], Buffer.from('44'.repeat(17), 'hex'))
    const login = exchange({ ...names, chap: identity })
    const first = login.start()
    assert.equal(keysOf(first).get('AuthMethod'), name === 'mutual' ? 'CHAP' : 'CHAP,None')
    const stage = { currentStage: 0 }
    const list = sent(
      login.next(response(stage), text(['AuthMethod', 'CHAP'], ['TargetPortalGroupTag', '1'])),
    )
    const proof = sent(login.next(response(stage), encodeText(target.challenge(keysOf(list)))))
    const back = encodeText(target.verify(keysOf(proof)))
    const keys = sent(login.next(response({ ...stage, transit: true, nextStage: 1 }), back))
    assert.ok(keysOf(keys).has('MaxBurstLength'))
    assert.equal(login.next(response({ transit: true, nextStage: 3 }), Buffer.alloc(0)).kind, 'done')
  })
}

test('a target that wants no authentication is taken at its word, unless it has to prove who it is', () => {
  const stage = { currentStage: 0 }
  const login = exchange({ ...names, chap })
  login.start()
  const leaving = sent(login.next(response(stage), text(['AuthMethod', 'None'])))
  assert.equal(decodeLoginRequest(leaving.header).transit, true)
  sent(login.next(response({ ...stage, transit: true, nextStage: 1 }), Buffer.alloc(0)))

  const strict = exchange({ ...names, chap: mutual })
  strict.start()
  assert.throws(() => strict.next(response(stage), text(['AuthMethod', 'None'])), code('authentication'))
})

test('a target cannot skip its own proof', () => {
  const stage = { currentStage: 0 }
  const early = exchange({ ...names, chap: mutual })
  early.start()
  const leave = response({ ...stage, transit: true, nextStage: 1 })
  assert.throws(() => early.next(leave, Buffer.alloc(0)), code('protocol'))

  const silent = exchange({ ...names, chap: mutual })
  const target = new ChapAuthenticator([mutual], Buffer.from('44'.repeat(17), 'hex'))
  silent.start()
  const list = sent(silent.next(response(stage), text(['AuthMethod', 'CHAP'])))
  silent.next(response(stage), encodeText(target.challenge(keysOf(list))))
  assert.throws(() => silent.next(leave, Buffer.alloc(0)), code('authentication'))
  assert.throws(() =>
    exchange({ ...names, chap: mutual }).next(response({ transit: true, nextStage: 3 }), Buffer.alloc(0)),
  )
})

test('refusals are permanent or not, as their class says', () => {
  for (const [status, expected] of [
    [0x0201, 'authentication'],
    [0x0202, 'authentication'],
    [0x0203, 'login'],
    [0x0301, 'login'],
  ] as const) {
    const login = exchange()
    login.start()
    try {
      login.next(response({ status }), Buffer.alloc(0))
      assert.fail('the refusal passed')
    } catch (error) {
      assert.ok(error instanceof IscsiError)
      assert.deepEqual([error.code, error.statusClass], [expected, status >>> 8])
    }
  }
})

test('a target that has moved says where to', () => {
  const login = exchange()
  login.start()
  const moved = login.next(response({ status: 0x0101 }), text(['TargetAddress', '192.0.2.1:3260,1']))
  assert.deepEqual(moved, { kind: 'moved', address: '192.0.2.1:3260,1' })
})

test('a target that never ends, sends too much or breaks the rules is left', () => {
  const endless = exchange()
  endless.start()
  assert.throws(() => {
    for (;;) endless.next(response(), Buffer.alloc(0))
  }, code('protocol'))

  const flood = exchange()
  flood.start()
  assert.throws(() => {
    for (;;) flood.next(response({ continued: true }), Buffer.alloc(8192, 0x41))
  }, code('protocol'))

  const faults: [Partial<LoginResponse>, Buffer][] = [
    [{ currentStage: 0 }, Buffer.alloc(0)],
    [{ transit: true, nextStage: 1 }, Buffer.alloc(0)],
    [{}, Buffer.from('no separator\0')],
    [{ transit: true, nextStage: 3 }, text(['HeaderDigest', 'CRC32C'])],
    [{ status: 0x0101 }, Buffer.alloc(0)],
  ]
  for (const [fields, data] of faults) {
    const login = exchange()
    login.start()
    assert.throws(() => login.next(response(fields), data), code('protocol'), JSON.stringify(fields))
  }
  const twice = exchange()
  twice.start()
  twice.next(response(), text(['InitialR2T', 'No']))
  assert.throws(() => twice.next(response(), text(['InitialR2T', 'No'])), code('protocol'))
})

test('a discovery session names no target', () => {
  const keys = keysOf(exchange({ initiatorName: names.initiatorName }).start())
  assert.equal(keys.get('SessionType'), 'Discovery')
  assert.equal(keys.has('TargetName'), false)
})
