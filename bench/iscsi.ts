import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { tgtdKind } from '../packages/iscsi/src/initiator/tgtd.fixture.ts'
import { apiOf } from '../test/support/api.ts'
import type { Instance } from '../test/support/instance.ts'
import { attach, createVolume, initiator } from './data.ts'
import type { Row } from './table.ts'

const run = promisify(execFile)
const KiB = 1024
const diskBytes = 1024 * 1024 * KiB
/** How much a cell moves, and how many requests at most: about a second on a quiet machine. */
const cellBytes = 768 * 1024 * KiB
const cellRequests = 20_000
/** `_SC_CLK_TCK` of Linux. */
const ticksPerSecond = 100

interface Cell {
  readonly what: string
  readonly bytes: number
  readonly depth: number
  readonly writes: boolean
  /** From one request to the next. */
  readonly stepBytes: number
}

const filling: Cell = {
  what: 'filling',
  bytes: 1024 * KiB,
  depth: 8,
  writes: true,
  stepBytes: 1024 * KiB,
}

/** A target that is measured: where it listens, as QEMU writes it, and the process that serves. */
interface Measured {
  readonly disk: string
  readonly pid: number
}

interface Result {
  readonly perSecond: number
  /** Processor time of the target for each GiB, in seconds. */
  readonly cpuPerGiB: number
}

function cells(): Cell[] {
  const made: Cell[] = []
  for (const [name, bytes] of [
    ['64 KiB', 64 * KiB],
    ['256 KiB', 256 * KiB],
    ['1 MiB', 1024 * KiB],
  ] as const) {
    for (const writes of [false, true]) {
      for (const depth of [1, 8, 32]) {
        const what = `${name} ${writes ? 'writes' : 'reads'}, depth ${depth}`
        made.push({ what, bytes, depth, writes, stepBytes: bytes })
      }
    }
  }
  for (const writes of [false, true]) {
    for (const depth of [1, 32]) {
      // A stride of a prime number of blocks, as `qemu-img bench` has no random order.
      const what = `4 KiB scattered ${writes ? 'writes' : 'reads'}, depth ${depth}`
      made.push({ what, bytes: 4 * KiB, depth, writes, stepBytes: 4099 * 4 * KiB })
    }
  }
  return made
}

/**
 * One file served by our target beside tgtd, with its defaults and tuned to the same negotiation, and a volume of the
 * embedded array; all driven by `qemu-img bench`. BENCH_ISCSI_CELLS names a pattern to pick cells.
 */
export async function benchIscsi(instance: Instance): Promise<Row[]> {
  const directory = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'emberglass-bench-iscsi-'))
  try {
    await using undo = new AsyncDisposableStack()
    const own = undo.use(await serveFile(directory))
    const volume = await edfVolume(instance)
    const peer = await tgtdKind()
    const peers: Measured[] = []
    if (peer.skip === undefined) {
      for (const tuned of [false, true]) {
        const tgtd = undo.use(await peer.start({ tuned, sizeBytes: diskBytes }))
        peers.push({
          disk: `portal=127.0.0.1:${tgtd.port},target=${tgtd.targetName},lun=${tgtd.lun}`,
          pid: tgtd.pid,
        })
      }
    }
    // Holes would be read faster than data.
    for (const target of [own, volume, ...peers]) await measure(filling, target)
    const picked = new RegExp(process.env['BENCH_ISCSI_CELLS'] ?? '.')
    const rows: Row[] = []
    for (const cell of cells().filter(({ what }) => picked.test(what))) {
      rows.push(...(await benchCell(cell, own, volume, peers, peer.skip)))
    }
    return rows
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function benchCell(
  cell: Cell,
  own: Measured,
  volume: Measured,
  peers: readonly Measured[],
  skip: string | undefined,
): Promise<Row[]> {
  const results = await bestOfTwo(cell, [own, volume, ...peers])
  const [file, thin, defaults, tuned] = results
  if (file === undefined || thin === undefined) return []
  const shown = ({ perSecond, cpuPerGiB }: Result) =>
    `${perSecond.toFixed(0)}/s ${cpuPerGiB.toFixed(2)} CPU s/GiB`
  if (defaults === undefined || tuned === undefined) {
    return [{ what: cell.what, ours: shown(file), peer: skip ?? 'no tgtd' }]
  }
  const row = (what: string, ours: Result, name: string, theirs: Result): Row => ({
    what: `${cell.what}: ${what}`,
    ours: shown(ours),
    peer: `${name} ${shown(theirs)}`,
    ratio: ours.perSecond / theirs.perSecond,
  })
  return [
    row('file', file, 'tgtd', defaults),
    row('file', file, 'tgtd tuned', tuned),
    row('volume', thin, 'tgtd tuned', tuned),
  ]
}

/** Each target twice, in turns, so that a noisy moment does not hit one alone. */
async function bestOfTwo(cell: Cell, targets: readonly Measured[]): Promise<Result[]> {
  const results: Result[] = []
  for (let round = 0; round < 2; round++) {
    for (const [index, target] of targets.entries()) {
      const result = await measure(cell, target)
      const before = results[index]
      results[index] = {
        perSecond: Math.max(before?.perSecond ?? 0, result.perSecond),
        cpuPerGiB: Math.min(before?.cpuPerGiB ?? Number.POSITIVE_INFINITY, result.cpuPerGiB),
      }
    }
  }
  return results
}

async function measure(cell: Cell, { disk, pid }: Measured): Promise<Result> {
  const count = Math.min(cellRequests, Math.floor(cellBytes / cell.bytes))
  const before = await cpuSeconds(pid)
  const { stdout } = await run('qemu-img', [
    ...['bench', '-t', 'none', '-c', String(count), '-d', String(cell.depth), '-s', String(cell.bytes)],
    ...['-S', String(cell.stepBytes), ...(cell.writes ? ['-w'] : [])],
    ...['--image-opts', `driver=iscsi,transport=tcp,${disk}`],
  ])
  const seconds = Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1])
  const gibibytes = (count * cell.bytes) / 1024 ** 3
  return { perSecond: count / seconds, cpuPerGiB: ((await cpuSeconds(pid)) - before) / gibibytes }
}

/** User and system time of a process and all its threads. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  // The name in parentheses may hold blanks: fields are counted behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** The example of the package's README, in a process of its own. */
async function serveFile(directory: string): Promise<Measured & AsyncDisposable> {
  const path = join(directory, 'disk')
  {
    await using file = await open(path, 'w')
    await file.truncate(diskBytes)
  }
  const example = join(import.meta.dirname, '..', 'packages', 'iscsi', 'examples', 'serve-file.ts')
  const child = spawn(process.execPath, ['--conditions=source', example, path, '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { UV_THREADPOOL_SIZE: '16', ...process.env },
  })
  const [line] = await once(createInterface(child.stdout), 'line', { signal: AbortSignal.timeout(30_000) })
  const [, targetName, portal] = /^(\S+) listens on (\S+)$/.exec(String(line)) ?? []
  return {
    disk: `portal=${portal},target=${targetName},lun=0,initiator-name=iqn.2001-04.com.example:host`,
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}

async function edfVolume(instance: Instance): Promise<Measured> {
  const api = await apiOf(instance)
  const volume = await attach(api, await createVolume(api, 1))
  return {
    disk: `portal=${volume.portal},target=${volume.iqn},lun=${volume.lun},initiator-name=${initiator}`,
    pid: await instance.edfNodePid(),
  }
}
