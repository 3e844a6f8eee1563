import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { missing, suiteTestNames } from './libiscsi.fixture.ts'
import { CLIENT_DEFECTS, NOT_CLAIMED, SuiteTarget } from './suite-target.fixture.ts'

const skip = missing('iscsi-test-cu', 'libiscsi-bin')
const names = skip === false ? await suiteTestNames() : []
/** Each lane has a target of its own: tests of one disturb those of another. */
const lanes = 2

function notClaimed(name: string): string | undefined {
  return [...NOT_CLAIMED].find(([pattern]) => pattern.test(name))?.[1]
}

describe("libiscsi's suite against our target", { skip, concurrency: lanes }, () => {
  test('there are as many tests as the package has', () => assert.ok(names.length >= 230))

  for (let lane = 0; lane < lanes; lane++) {
    describe(`lane ${lane + 1}`, { concurrency: 1 }, () => {
      let target: SuiteTarget
      before(async () => {
        target = await SuiteTarget.start()
      })
      after(() => target[Symbol.asyncDispose]())

      for (const name of names.filter((_, index) => index % lanes === lane)) {
        const defect = CLIENT_DEFECTS.get(name)
        test(name, { skip: defect ?? false }, async () => {
          const { result, output } = await target.run(name)
          if (result === 'skipped') assert.ok(notClaimed(name), `skipped itself: ${output}`)
          else assert.equal(result, 'passed', output)
        })
      }
    })
  }
})
