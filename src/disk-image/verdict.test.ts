import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Inspection } from './inspect.ts'
import { judge } from './verdict.ts'

function inspection(format: Inspection['format'], ...problems: readonly string[]): Inspection {
  return {
    format,
    matches: [],
    virtualSizeBytes: 1000,
    streamBytes: 300,
    problems: problems.map((check) => ({ check, message: `failed ${check}` })),
  }
}

test('the detected format must be the declared one', () => {
  const accepted = { accepted: true, virtualSizeBytes: 1000, warnings: [] }
  assert.deepEqual(judge(inspection('qcow2'), 'qcow2'), accepted)
  const different = judge(inspection('vmdk'), 'qcow2')
  assert.ok(!different.accepted && different.reason === 'mismatch')
  const nothing = judge(inspection('raw'), 'qcow2')
  assert.ok(!nothing.accepted && nothing.reason === 'mismatch')
})

test('raw is opaque: any safe format passes and its size is that of the stream', () => {
  for (const format of ['raw', 'qcow2', 'gpt', 'iso'] as const) {
    assert.deepEqual(judge(inspection(format), 'raw'), {
      accepted: true,
      virtualSizeBytes: 300,
      warnings: [],
    })
  }
})

test('what is unsafe is refused also when it is declared raw or matching is not required', () => {
  for (const declared of ['raw', 'qcow2']) {
    const verdict = judge(inspection('qcow2', 'backing-file'), declared, { requireMatch: false })
    assert.ok(!verdict.accepted && verdict.reason === 'unsafe')
    assert.equal(verdict.message, 'failed backing-file')
  }
})

test('formats that inspection does not know pass when nothing is recognised', () => {
  assert.deepEqual(judge(inspection('raw'), 'ami'), {
    accepted: true,
    virtualSizeBytes: undefined,
    warnings: [],
  })
  assert.equal(judge(inspection('vmdk'), 'ami').accepted, false)
})

test('a mismatch is a warning when matching is not required', () => {
  const verdict = judge(inspection('vmdk'), 'qcow2', { requireMatch: false })
  assert.ok(verdict.accepted)
  assert.equal(verdict.virtualSizeBytes, 1000)
  assert.equal(verdict.warnings.length, 1)
})

test('partition table checks named in the configuration only warn', () => {
  const options = { nonfatalGptChecks: ['mbr'] }
  assert.deepEqual(judge(inspection('gpt', 'mbr'), 'raw', options), {
    accepted: true,
    virtualSizeBytes: 300,
    warnings: ['failed mbr'],
  })
  assert.equal(judge(inspection('gpt', 'mbr'), 'raw').accepted, false)
  assert.equal(judge(inspection('qcow2', 'mbr'), 'raw', options).accepted, false)
})
