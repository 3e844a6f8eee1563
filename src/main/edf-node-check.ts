import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { EdfClient, type EdfScope } from '@emberglass/edf/client'
import { checkEdfNode, type DataDirectory, EdfNodeStartError } from '@emberglass/edf/node'
import { MiB } from '../kernel/bytes.ts'
import { BackendError, messageOf } from '../kernel/errors.ts'

interface CheckCommand {
  directory: string
  dataDirectory?: readonly DataDirectory[]
}

/** What either way of checking comes to. */
interface Verdict {
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
  /** What was looked at. */
  readonly extent: string
}

const lookMs = 500
/** A check that gets no further for this long is given up. */
const patienceMs = 10 * 60_000
const exitCodes = { intact: 0, damaged: 1, notChecked: 2 }

/**
 * `emberglass edf-node check`: of a node that does not run by looking into its directories, of one that runs by asking
 * it. Exits with 0 when all is well, 1 when something is damaged, 2 when it could not be found out.
 */
export async function runEdfNodeCheck(options: CheckCommand): Promise<void> {
  try {
    const { errors, warnings, extent } = await check(options)
    for (const error of errors) process.stdout.write(`error: ${error}\n`)
    for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`)
    const verdict = errors.length === 0 ? 'no damage' : `${errors.length} errors`
    process.stdout.write(`${extent}: ${verdict}\n`)
    process.exitCode = errors.length === 0 ? exitCodes.intact : exitCodes.damaged
  } catch (error) {
    process.stderr.write(`emberglass edf-node check: ${messageOf(error)}\n`)
    const isDamaged = error instanceof EdfNodeStartError && error.code === 'EDIRDAMAGED'
    process.exitCode = isDamaged ? exitCodes.damaged : exitCodes.notChecked
  }
}

async function check({ directory, dataDirectory }: CheckCommand): Promise<Verdict> {
  try {
    const progress = new Progress()
    const report = await checkEdfNode({
      directory,
      ...(dataDirectory === undefined ? {} : { dataDirectories: dataDirectory }),
      onProgress: (step) => progress.show(step.directory, step.doneBytes, step.totalBytes),
    })
    const { directories, volumes, snapshots, bytesRead } = report
    const extent = `${directories} data directories, ${volumes} volumes, ${snapshots} snapshots, ${inMiB(bytesRead)} MiB`
    return { ...report, extent }
  } catch (error) {
    if (!(error instanceof EdfNodeStartError) || error.code !== 'EDIRLOCKED') throw error
    return await checkRunning(directory)
  }
}

/** Has the node that uses the directory check itself. */
async function checkRunning(directory: string): Promise<Verdict> {
  const call = { signal: AbortSignal.timeout(24 * 3600_000) }
  await using client = await connect(directory, call)
  const root = client.in('/root')
  const [node] = await root.storageNodes.list({}, call)
  if (node === undefined) throw new BackendError('the node shows no storage node', { left: 'nothing' })
  process.stdout.write(`The node runs at ${client.origin}, and checks itself.\n`)
  return await follow(root, node.path, call)
}

async function follow(root: EdfScope, node: string, call: { signal: AbortSignal }): Promise<Verdict> {
  const progress = new Progress()
  let checks = await root.startStorageChecks(node, call)
  let bytesRead = 0
  let movedAt = performance.now()
  while (checks.some(({ finishedAt }) => finishedAt === undefined)) {
    await pause(lookMs)
    checks = await root.storageChecks(node, call)
    for (const { medium, bytesRead: doneBytes, totalBytes } of checks) {
      progress.show(medium, doneBytes, totalBytes)
    }
    const total = bytesReadBy(checks)
    if (total !== bytesRead) movedAt = performance.now()
    bytesRead = total
    if (performance.now() - movedAt > patienceMs) {
      throw new BackendError(`the check gets no further for ${patienceMs / 60_000} minutes`, {
        left: 'nothing',
      })
    }
  }
  const errors = checks.flatMap(({ medium, damagedBlocks, problems }) => [
    ...(damagedBlocks > 0
      ? [
          `${medium}: ${damagedBlocks} damaged blocks; events and alerts of the array say where, and what was repaired`,
        ]
      : []),
    ...problems.map((problem) => `${medium}: ${problem}`),
  ])
  const { causes = [] } = await root.storageNodes.get(node, call)
  return {
    errors: [...causes, ...errors],
    warnings: [],
    extent: `${checks.length} data directories, ${inMiB(bytesReadBy(checks))} MiB`,
  }
}

const bytesReadBy = (checks: readonly { readonly bytesRead: number }[]): number =>
  checks.reduce((sum, one) => sum + one.bytesRead, 0)

async function connect(directory: string, call: { signal: AbortSignal }): Promise<EdfClient> {
  const url = new URL((await readFile(join(directory, 'rest-url'), 'utf8')).trim())
  const password = (await readFile(join(directory, 'admin-password'), 'utf8')).trim()
  return await EdfClient.connect(
    {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port),
      tls: false,
      login: 'admin',
      password,
      driver: 'Emberglass-check-1.0',
      retry: { budgetMs: 10_000, intervalMs: 1000 },
    },
    call,
  )
}

/** A line for each data directory: it changes on a terminal, and comes again every tenth elsewhere. */
class Progress {
  readonly #shown = new Map<string, number>()

  show(directory: string, doneBytes: number, totalBytes: number): void {
    const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((doneBytes / totalBytes) * 100))
    const { isTTY } = process.stdout
    const before = this.#shown.get(directory)
    if (before === percent || (!isTTY && before !== undefined && percent < before + 10)) return
    this.#shown.set(directory, percent)
    const line = `${directory}: ${percent} % of ${inMiB(totalBytes)} MiB`
    process.stdout.write(isTTY && percent < 100 ? `\r${line}\x1b[K` : `${isTTY ? '\r' : ''}${line}\n`)
  }
}

const inMiB = (bytes: number): string => (bytes / MiB).toFixed(bytes < 10 * MiB ? 1 : 0)
