/**
 * `npm run bench`: what Emberglass reaches on this machine, beside what bounds it or a peer, in one run.
 * `npm run bench -- start data backups images iscsi memory requests pages array store` picks parts; BENCH_MIB sets the size
 * of the image, BENCH_VOLUMES the length of the array's list.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { apiOf } from '../test/support/api.ts'
import { startInstance } from '../test/support/instance.ts'
import { benchArray } from './array.ts'
import { benchBackups } from './backup.ts'
import { benchData, benchMemory, residentMiB } from './data.ts'
import { benchImages } from './images.ts'
import { benchIscsi } from './iscsi.ts'
import { benchPages } from './pages.ts'
import { benchRequests } from './requests.ts'
import { printTable, timed } from './table.ts'
import { benchThinStore } from './thin-store.ts'

const parts = process.argv.slice(2)
const wanted = (part: string) => parts.length === 0 || parts.includes(part)
const volumes = Number(process.env['BENCH_VOLUMES'] ?? 10_000)
const mebibytes = Number(process.env['BENCH_MIB'] ?? 1024)

const directory = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'emberglass-bench-'))
try {
  const stateDirectory = join(directory, 'state')
  const first = await startInstance({ stateDirectory })
  await first.stop()
  const begun = performance.now()
  await using instance = await startInstance({ stateDirectory, portBase: first.portBase })
  const spawned = performance.now() - begun
  const api = await apiOf(instance)
  const authenticated = performance.now() - begun

  if (wanted('start')) {
    const token = await timed(() => apiOf(instance))
    const list = await timed(() => api.block('GET', '/volumes/detail'))
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    printTable('Start and rest', [
      { what: 'first start: ready', ours: `${first.readyMs} ms` },
      { what: 'second start: ready, its own clock', ours: `${instance.readyMs} ms` },
      { what: 'second start: ready, seen from outside', ours: `${spawned.toFixed(0)} ms` },
      { what: 'second start: first token in hand', ours: `${authenticated.toFixed(0)} ms` },
      { what: 'a token with a password', ours: `${token.toFixed(0)} ms` },
      { what: 'first list of volumes', ours: `${list.toFixed(0)} ms` },
      { what: 'controller, resident when idle', ours: `${(await residentMiB(instance.pid)).toFixed(0)} MiB` },
      {
        what: 'EDF node, resident when idle',
        ours: `${(await residentMiB(await instance.edfNodePid())).toFixed(0)} MiB`,
      },
    ])
  }
  if (wanted('array')) printTable('Array', await benchArray(join(directory, 'array'), volumes))
  if (wanted('store')) {
    const tables = await benchThinStore(directory, Math.min(mebibytes, 512))
    for (const [title, rows] of tables) printTable(title, rows)
  }
  if (wanted('data')) printTable('Data', await benchData(instance, directory, mebibytes))
  if (wanted('backups')) printTable('Backups', await benchBackups(instance, mebibytes))
  if (wanted('images')) printTable('Images', await benchImages(directory, mebibytes))
  if (wanted('iscsi')) printTable('iSCSI', await benchIscsi(instance))
  if (wanted('memory')) printTable('Memory', await benchMemory(instance, 4))
  if (wanted('requests')) printTable('Requests', await benchRequests(instance, await apiOf(instance)))
  if (wanted('pages')) printTable('Pages', await benchPages())
} finally {
  await rm(directory, { recursive: true, force: true })
}
