import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { IscsiError } from '../errors.ts'
import {
  type Chap,
  ChapAuthenticator,
  ChapResponder,
  chapAnswer,
  checkChap,
  formatBinary,
  parseBinary,
} from './chap.ts'
import { md5 } from './md5.ts'
import { offerKeys, PREFERRED, settleAnswers, TargetNegotiation } from './negotiate.ts'
import { encodeText, type KeyValue, parseNumber, parseText, uniqueKeys } from './text.ts'

const code = (expected: string) => (error: unknown) => error instanceof IscsiError && error.code === expected
const map = (pairs: readonly KeyValue[]) => uniqueKeys(pairs)
const ours = Buffer.from('11'.repeat(17), 'hex')
const theirs = Buffer.from('22'.repeat(17), 'hex')

function converse(account: Chap, initiator: Chap): void {
  const target = new ChapAuthenticator([account], ours)
  const responder = new ChapResponder(initiator, theirs)
  const challenge = map(target.challenge(map(responder.propose())))
  responder.verify(map(target.verify(map(responder.answer(challenge)))))
}

test('text is pairs ended by NUL, in order, and may hold equals signs', () => {
  const pairs: KeyValue[] = [
    ['TargetName', 'iqn.2026-01.test:a=b'],
    ['SendTargets', ''],
  ]
  assert.deepEqual(parseText(encodeText(pairs)), pairs)
  assert.deepEqual(parseText(Buffer.alloc(0)), [])
})

test('malformed text is refused', () => {
  for (const text of ['a=b', 'ab\0', '=b\0', `${'k'.repeat(64)}=v\0`, `Key=${'v'.repeat(256)}\0`]) {
    assert.throws(() => parseText(Buffer.from(text)), code('protocol'), text.slice(0, 20))
  }
  assert.throws(() => parseText(Buffer.from([0x61, 0x3d, 0xff, 0])), code('protocol'))
  assert.throws(() => parseText(Buffer.alloc(65537)), code('protocol'))
  assert.throws(
    () =>
      uniqueKeys([
        ['a', '1'],
        ['a', '2'],
      ]),
    code('protocol'),
  )
})

test('numbers are decimal or hexadecimal and in range', () => {
  assert.equal(parseNumber('8192', 512, 16777215), 8192)
  assert.equal(parseNumber('0x2000', 512, 16777215), 8192)
  for (const bad of ['', '-1', '1.5', '511', '0x', 'ten', '16777216', ' 600', '9'.repeat(40)]) {
    assert.equal(parseNumber(bad, 512, 16777215), undefined, bad)
  }
})

test('MD5 agrees with the runtime for messages around every block boundary', () => {
  for (let length = 0; length < 200; length++) {
    const message = Buffer.alloc(length, length)
    assert.deepEqual(md5(message), createHash('md5').update(message).digest())
  }
})

test('binary values come as hex with any number of digits, or as base64', () => {
  assert.deepEqual(parseBinary('0xAbC'), Buffer.from('0abc', 'hex'))
  assert.deepEqual(parseBinary('0bAQID'), Buffer.from([1, 2, 3]))
  for (const bad of ['', '0x', 'abc', '0xzz', '0b!!']) assert.equal(parseBinary(bad), undefined, bad)
})

test('CHAP with the right secret succeeds, one-way and mutual', () => {
  const oneWay = { username: '0xuser', password: 'a secret of 16 b' }
  const mutual = { ...oneWay, mutual: { username: 'target', password: 'another one of 20 b.' } }
  converse(oneWay, oneWay)
  converse(mutual, mutual)
  converse(mutual, oneWay)
})

test('CHAP fails alike for a wrong name and a wrong secret, and when either end cannot prove itself', () => {
  const account = { username: 'user', password: 'a secret of 16 b' }
  const mutual = { username: 'target', password: 'another one of 20 b.' }
  const messages = [
    { ...account, username: 'usir' },
    { ...account, password: 'a secret of 17 by' },
  ].map((initiator) => {
    try {
      converse(account, initiator)
    } catch (error) {
      assert.ok(error instanceof IscsiError && error.code === 'authentication')
      return error.message
    }
    return assert.fail('the login succeeded')
  })
  assert.equal(messages[0], messages[1])
  assert.throws(() => converse(account, { ...account, mutual }), code('authentication'))
  assert.throws(
    () =>
      converse(
        { ...account, mutual: { ...mutual, password: 'not the same secret' } },
        { ...account, mutual },
      ),
    code('authentication'),
  )
})

test('the first algorithm of the list that is known is chosen, and 56 is not 5', () => {
  const target = new ChapAuthenticator([{ username: 'u', password: 'p'.repeat(12) }], ours)
  assert.equal(map(target.challenge(new Map([['CHAP_A', '8,5,7']]))).get('CHAP_A'), '5')
  for (const list of ['56', '', '8,9']) {
    assert.throws(() => target.challenge(new Map([['CHAP_A', list]])), code('authentication'), list)
  }
})

test('a challenge that is sent back is not answered', () => {
  const account = {
    username: 'u',
    password: 'p'.repeat(12),
    mutual: { username: 't', password: 'q'.repeat(12) },
  }
  const target = new ChapAuthenticator([account], ours)
  const challenge = map(target.challenge(new Map([['CHAP_A', '5']])))
  const bytes = parseBinary(challenge.get('CHAP_C') ?? '') ?? Buffer.alloc(0)
  const answer = chapAnswer(5, Number(challenge.get('CHAP_I')), account.password, bytes)
  const keys = new Map([
    ['CHAP_N', 'u'],
    ['CHAP_R', formatBinary(answer)],
    ['CHAP_I', '1'],
    ['CHAP_C', challenge.get('CHAP_C') ?? ''],
  ])
  assert.throws(() => target.verify(keys), code('authentication'))
})

test('short or equal secrets are refused before they are used', () => {
  assert.throws(() => checkChap({ username: 'u', password: 'short' }), code('invalid'))
  const password = 'p'.repeat(12)
  assert.throws(
    () => checkChap({ username: 'u', password, mutual: { username: 't', password } }),
    code('invalid'),
  )
})

test('two ends with the same preferences agree on large segments and no R2T', () => {
  const target = new TargetNegotiation(PREFERRED)
  const answers = new Map<string, string>()
  for (const [key, value] of offerKeys(PREFERRED)) {
    const answer = target.answer(key, value)
    if (answer !== undefined) answers.set(key, answer)
  }
  answers.set('MaxRecvDataSegmentLength', String(PREFERRED.maxRecvDataSegmentLength))
  assert.deepEqual(settleAnswers(PREFERRED, answers), target.parameters)
  assert.equal(target.parameters.initialR2T, false)
  assert.equal(target.parameters.firstBurstLength, 262144)
})

test('the target answers each kind of key by its rule', () => {
  const target = new TargetNegotiation({ ...PREFERRED, dataDigest: true })
  const cases: [string, string, string | undefined][] = [
    ['HeaderDigest', 'CRC32C,None', 'None'],
    ['DataDigest', 'CRC32C,None', 'CRC32C'],
    ['InitialR2T', 'Yes', 'Yes'],
    ['ImmediateData', 'No', 'No'],
    ['MaxBurstLength', '16776192', '1048576'],
    ['FirstBurstLength', '0x1000', '4096'],
    ['FirstBurstLength', '100', 'Reject'],
    ['MaxConnections', '8', '1'],
    ['ErrorRecoveryLevel', '2', '0'],
    ['ErrorRecoveryLevel', '3', 'Reject'],
    ['DefaultTime2Wait', '5', '5'],
    ['DefaultTime2Retain', '20', '0'],
    ['DataPDUInOrder', 'No', 'Yes'],
    ['OFMarker', 'No', 'No'],
    ['OFMarkInt', '1~2', 'Reject'],
    ['MaxRecvDataSegmentLength', '65536', undefined],
    ['X-com.example', '1', 'NotUnderstood'],
  ]
  for (const [key, value, answer] of cases) assert.equal(target.answer(key, value), answer, `${key}=${value}`)
  assert.equal(target.parameters.peerMaxRecvDataSegmentLength, 65536)
  assert.equal(target.parameters.dataDigest, true)
})

test('an initiator refuses an answer that it did not offer', () => {
  assert.throws(() => settleAnswers(PREFERRED, new Map([['HeaderDigest', 'CRC32C']])), code('protocol'))
  assert.throws(() => settleAnswers(PREFERRED, new Map([['MaxBurstLength', 'Reject']])), code('protocol'))
})

test('keys the target leaves out have the RFC default', () => {
  const settled = settleAnswers(PREFERRED, new Map())
  assert.equal(settled.peerMaxRecvDataSegmentLength, 8192)
  assert.equal(settled.initialR2T, true)
  assert.equal(settled.firstBurstLength, 65536)
})
