import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nextRun } from './snapshot-schedule.ts'

const next = (start: string, interval: string, after: string) =>
  new Date(nextRun(Date.parse(start), interval, Date.parse(after))).toISOString()

test('a policy runs at its start, and then every interval', () => {
  assert.equal(next('2020-01-01T00:00:30Z', '15min', '2019-12-31T00:00:00Z'), '2020-01-01T00:00:30.000Z')
  assert.equal(next('2020-01-01T00:00:30Z', '15min', '2020-01-01T00:00:30Z'), '2020-01-01T00:15:30.000Z')
  assert.equal(next('1970-01-01T00:00:30+00:00', '1hour', '2024-02-29T23:59:59Z'), '2024-03-01T00:00:30.000Z')
  assert.equal(next('2024-01-01T00:00:00Z', '1week', '2024-01-20T00:00:00Z'), '2024-01-22T00:00:00.000Z')
})

test('months and years are those of the calendar', () => {
  assert.equal(next('2024-01-31T12:00:00Z', '1month', '2024-02-01T00:00:00Z'), '2024-02-29T12:00:00.000Z')
  assert.equal(next('2024-01-31T12:00:00Z', '1month', '2024-02-29T12:00:00Z'), '2024-03-31T12:00:00.000Z')
  assert.equal(next('2024-02-29T00:00:00Z', '1year', '2024-02-29T00:00:00Z'), '2025-02-28T00:00:00.000Z')
  assert.equal(next('2020-06-15T00:00:00Z', '1year', '2024-07-01T00:00:00Z'), '2025-06-15T00:00:00.000Z')
})
