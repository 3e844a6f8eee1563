// Runs test files with node:test, three at a time, the slow ones first so that short ones fill in beside them, and ends
// with one line of totals. A file that fails is run a second time, alone: a test that fails only beside others on a busy
// machine is told as such, a defect fails again.
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const root = join(import.meta.dirname, '..')
const filesAtOnce = 3
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
 * Runs one file and prints what it says when it is over.
 * @returns how many of its tests passed, failed and were skipped; suites count for nothing
 */
async function runFile(file) {
  const outcome = { file, passed: 0, failed: 0, skipped: 0 }
  const events = run({ files: [join(root, file)], cwd: root, timeout })
  const count = (data, verdict) => {
    if (data.details?.type === 'suite') return
    outcome[data.skip === undefined || data.skip === false ? verdict : 'skipped'] += 1
  }
  events.on('test:pass', (data) => count(data, 'passed'))
  events.on('test:fail', (data) => count(data, 'failed'))
  const began = performance.now()
  let report = ''
  for await (const chunk of events.compose(spec)) report += chunk
  const took = ((performance.now() - began) / 1000).toFixed(1)
  const told = report.replace(/^ℹ .*\n/gm, '').trimEnd() // the totals of one file say little
  process.stdout.write(`\n${file} (${took} s)\n${told}\n`)
  return outcome
}

async function runFiles(files, atOnce) {
  const outcomes = []
  const waiting = [...files]
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      outcomes.push(await runFile(file))
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return outcomes
}

const patterns = process.argv.slice(2)
const files = slowestFirst(globSync(patterns, { cwd: root }))
if (files.length === 0) {
  process.stdout.write(`no test file is called ${patterns.join(' or ')}\n0 passed, 1 failed\n`)
  process.exit(1)
}
const began = performance.now()
let outcomes = await runFiles(files, filesAtOnce)

const failing = outcomes.filter(({ failed }) => failed > 0)
if (failing.length > 0 && failing.length <= mostSecondRuns) {
  process.stdout.write(`\nOnce more, alone: ${failing.map(({ file }) => file).join(', ')}\n`)
  const second = await runFiles(
    failing.map(({ file }) => file),
    1,
  )
  outcomes = [...outcomes.filter(({ failed }) => failed === 0), ...second]
  for (const { file, failed } of second) {
    if (failed === 0) process.stdout.write(`UNSTABLE: ${file} failed beside others, and passed alone\n`)
  }
}

const total = (verdict) => outcomes.reduce((sum, outcome) => sum + outcome[verdict], 0)
const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map(total)
for (const { file } of outcomes.filter((outcome) => outcome.failed > 0))
  process.stdout.write(`FAILED: ${file}\n`)
process.stdout.write(`\n${files.length} files in ${Math.round((performance.now() - began) / 1000)} s\n`)
process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`)
process.exit(failed > 0 ? 1 : 0)
