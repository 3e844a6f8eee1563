/**
 * Runs every test of iscsi-test-cu against a target: `node … whole-suite.ts [filter] [--block-size 4096] [--url …]`.
 * Prints what did not pass; exits with 1 when something failed.
 */
import { parseArgs } from 'node:util'
import { IscsiServer } from '@emberglass/iscsi'
import { suiteTest, suiteTestNames } from './libiscsi.fixture.ts'
import { ThinDevice } from './thin-device.fixture.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'block-size': { type: 'string', default: '512' }, url: { type: 'string' } },
})
const filter = new RegExp(positionals[0] ?? '.')
await using server = new IscsiServer()
let url = values.url
if (url === undefined) {
  const target = server.addTarget({ name: 'iqn.2026-01.test:suite', access: { initiators: 'any' } })
  target.addLun(0, {
    device: new ThinDevice(128 * 1048576, Number(values['block-size'])),
    serial: 'suite-0001',
  })
  const portal = await server.listen({ host: '127.0.0.1', port: 0 })
  url = `iscsi://127.0.0.1:${portal.port}/iqn.2026-01.test:suite/0`
}
const counts = { passed: 0, skipped: 0, failed: 0 }
for (const name of (await suiteTestNames()).filter((each) => filter.test(each))) {
  const { result, output } = await suiteTest(name, url)
  counts[result] += 1
  if (result !== 'passed') console.log(result, name)
  if (result === 'failed') console.log(output.replace(/^/gm, '    '))
}
console.log(counts)
process.exitCode = counts.failed > 0 ? 1 : 0
