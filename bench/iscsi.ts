import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { RealTarget } from '../packages/iscsi/src/initiator/disk.conformance.ts'
import { tgtdKind } from '../packages/iscsi/src/initiator/tgtd.fixture.ts'
import { type Api, apiOf } from '../test/support/api.ts'
import type { Instance } from '../test/support/instance.ts'
import { attach, createVolume, initiator } from './data.ts'
import type { Row } from './table.ts'

const run = promisify(execFile)
const KiB = 1024
const cells = [
  { what: '64 KiB reads, depth 8', bytes: 64 * KiB, count: 8_000, writes: false },
  { what: '64 KiB writes, depth 8', bytes: 64 * KiB, count: 8_000, writes: true },
  { what: '1 MiB reads, depth 8', bytes: 1024 * KiB, count: 600, writes: false },
  { what: '1 MiB writes, depth 8', bytes: 1024 * KiB, count: 600, writes: true },
  { what: '4 KiB reads, depth 8', bytes: 4 * KiB, count: 20_000, writes: false },
] as const

/** A volume on the embedded array beside a file of tgtd with its defaults, both driven by `qemu-img bench`. */
export async function benchIscsi(instance: Instance): Promise<Row[]> {
  const peer = await tgtdKind()
  const api: Api = await apiOf(instance)
  const volume = await attach(api, await createVolume(api, 1))
  const ours = `portal=${volume.portal},target=${volume.iqn},lun=${volume.lun},initiator-name=${initiator}`
  await using tgtd: RealTarget | undefined = peer.skip === undefined ? await peer.start({}) : undefined
  const rows: Row[] = []
  for (const cell of cells) {
    const own = await requestsPerSecond(ours, cell)
    if (tgtd === undefined) {
      rows.push({ what: cell.what, ours: `${own.toFixed(0)}/s`, peer: peer.skip ?? '' })
      continue
    }
    const theirs = `portal=127.0.0.1:${tgtd.port},target=${tgtd.targetName},lun=${tgtd.lun}`
    const other = await requestsPerSecond(theirs, cell)
    rows.push({
      what: cell.what,
      ours: `${own.toFixed(0)}/s`,
      peer: `tgtd ${other.toFixed(0)}/s`,
      ratio: own / other,
    })
  }
  return rows
}

/** The better of two runs. */
async function requestsPerSecond(disk: string, cell: (typeof cells)[number]): Promise<number> {
  let best = 0
  for (let round = 0; round < 2; round++) {
    const { stdout } = await run('qemu-img', [
      ...['bench', '-t', 'none', '-c', String(cell.count), '-d', '8', '-s', String(cell.bytes)],
      ...(cell.writes ? ['-w'] : []),
      ...['--image-opts', `driver=iscsi,transport=tcp,${disk}`],
    ])
    const seconds = Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1])
    best = Math.max(best, cell.count / seconds)
  }
  return best
}
