// Runs test files with node:test, the slow ones first so that short ones fill in beside them, and ends with one line of
// totals. A file that fails is run a second time, alone: a test that fails only beside others on a busy machine is told
// as such, a defect fails again.
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const root = join(import.meta.dirname, '..')
const patterns = process.argv.slice(2)
/** More failing files than this are no accident of a busy machine: they are not run again. */
const mostSecondRuns = 4
/** A single test may take this long, in milliseconds. */
const timeout = 600_000

/** Whole trips with real clients take minutes each: they begin, the others fill in. */
function slowestFirst(files) {
  const rank = (file) => (file.startsWith(join('test', 'acceptance')) ? 0 : file.startsWith('test') ? 1 : 2)
  return files.sort((one, other) => rank(one) - rank(other) || one.localeCompare(other))
}

/**
 * Runs files and prints what they say.
 * @returns for each file: how many tests passed, failed and were skipped; suites count for nothing.
 */
async function runFiles(files, concurrency) {
  const outcomes = new Map(files.map((file) => [file, { passed: 0, failed: 0, skipped: 0 }]))
  const stream = run({ files: files.map((file) => join(root, file)), cwd: root, concurrency, timeout })
  const count = ({ data }, failed) => {
    if (data.details?.type === 'suite') return
    const outcome = outcomes.get((data.file ?? data.name).replace(`${root}/`, ''))
    if (outcome === undefined) throw new Error(`a test of no file: ${data.name}`)
    if (failed) outcome.failed += 1
    else if (data.skip !== undefined && data.skip !== false) outcome.skipped += 1
    else outcome.passed += 1
  }
  stream.on('test:pass', (event) => count({ data: event }, false))
  stream.on('test:fail', (event) => count({ data: event }, true))
  const report = stream.compose(spec)
  for await (const chunk of report) process.stdout.write(chunk)
  return outcomes
}

const files = slowestFirst(globSync(patterns, { cwd: root }))
if (files.length === 0) {
  process.stdout.write(`no test file is called ${patterns.join(' or ')}\n0 passed, 1 failed\n`)
  process.exit(1)
}
const outcomes = await runFiles(files, 3)

const failing = [...outcomes].filter(([, { failed }]) => failed > 0)
if (failing.length > 0 && failing.length <= mostSecondRuns) {
  const again = failing.map(([file]) => file)
  process.stdout.write(`\nOnce more, alone: ${again.join(', ')}\n`)
  for (const [file, outcome] of await runFiles(again, 1)) {
    outcomes.set(file, outcome)
    if (outcome.failed === 0)
      process.stdout.write(`UNSTABLE: ${file} failed beside others, and passed alone\n`)
  }
}

const total = { passed: 0, failed: 0, skipped: 0 }
for (const { passed, failed, skipped } of outcomes.values()) {
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
}
const { passed, failed, skipped } = total
process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
process.exit(failed > 0 ? 1 : 0)
