/**
 * Runs every test of the `iscsi-test-cu` that is in the path, packaged or newer, against our target or another:
 * `node … whole-suite.ts [filter] [--block-size 4096] [--url …]`. Prints what did not pass; exits with 1 when
 * something failed.
 */
import { parseArgs } from 'node:util'
import { suiteTest, suiteTestNames } from './libiscsi.fixture.ts'
import { SuiteTarget } from './suite-target.fixture.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'block-size': { type: 'string', default: '512' }, url: { type: 'string' } },
})
const { url, 'block-size': blockSize } = values
const filter = new RegExp(positionals[0] ?? '.')
await using target = await SuiteTarget.start(Number(blockSize))
const counts = { passed: 0, skipped: 0, failed: 0 }
for (const name of (await suiteTestNames()).filter((each) => filter.test(each))) {
  const { result, output } = await (url === undefined ? target.run(name) : suiteTest(name, url))
  counts[result] += 1
  if (result !== 'passed') console.log(result, name)
  if (result === 'failed') console.log(output.replace(/^/gm, '    '))
}
console.log(counts)
process.exitCode = counts.failed > 0 ? 1 : 0
