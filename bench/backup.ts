import { createHash, randomFillSync } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type BlockDevice, openIscsiDisk, parsePortal, readStream, writeStream } from '@emberglass/iscsi'
import { type Api, apiOf } from '../test/support/api.ts'
import type { Instance } from '../test/support/instance.ts'
import { attach, createVolume, initiator, residentMiB } from './data.ts'
import { megabytesPerSecond, type Row, timed } from './table.ts'

const MiB = 1024 * 1024
/** `_SC_CLK_TCK` of Linux. */
const ticksPerSecond = 100
const call = { signal: new AbortController().signal }
/** Of 100 stretches one is written anew before the increment. */
const stretches = 100

/** What one backup took. */
interface Taken {
  readonly milliseconds: number
  /** Processor seconds of the controller per second: at most the number of cores. */
  readonly cores: number
  readonly mostMiB: number
}

/** Full backups and an increment of a volume of random bytes, beside what bounds them, in the same run. */
export async function benchBackups(instance: Instance, mebibytes: number): Promise<Row[]> {
  const api = await apiOf(instance)
  const bytes = mebibytes * MiB
  const id = await createVolume(api, Math.ceil(mebibytes / 1024))
  await withDisk(api, id, (disk) => writeStream(random(bytes), disk, { skipZeroes: false }, call))
  let reading = 0
  await withDisk(api, id, async (disk) => {
    const work = async () => {
      for await (const _ of readStream(disk, 0, bytes, { chunkBytes: MiB, depth: 8 }, call));
    }
    reading = megabytesPerSecond(bytes, await timed(work))
  })
  const codec = megabytesPerSecond(bytes, await timed(async () => digest('sha256', bytes)))
  const bound = Math.min(reading, codec)
  const peer = `initiator reads ${reading.toFixed(0)}, SHA-256 alone ${codec.toFixed(0)} MB/s`
  const idle = await residentMiB(instance.pid)
  const rows: Row[] = []
  for (const target of ['posix', 'datera']) {
    const full = await backup(instance, api, { volume_id: id, name: `${target}_full` })
    const rate = megabytesPerSecond(bytes, full.milliseconds)
    const memory = `memory ${idle.toFixed(0)} → ${full.mostMiB.toFixed(0)} MiB`
    rows.push({
      what: `full backup of ${mebibytes} MiB, ${target}`,
      ours: `${rate.toFixed(0)} MB/s, ${full.cores.toFixed(1)} cores, ${memory}`,
      peer,
      ratio: rate / bound,
    })
    await withDisk(api, id, (disk) => change(disk, bytes))
    const increment = await backup(instance, api, { volume_id: id, name: `${target}_1`, incremental: true })
    const part = (increment.milliseconds / full.milliseconds) * 100
    rows.push({
      what: `increment of it, 1 % changed, ${target}`,
      ours: `${(increment.milliseconds / 1000).toFixed(1)} s: ${part.toFixed(0)} % of the full one`,
      peer: 'aim: 5 %',
    })
  }
  return rows
}

/** Asks for a backup and waits for it. */
async function backup(instance: Instance, api: Api, body: object): Promise<Taken> {
  let mostMiB = 0
  const watching = setInterval(async () => {
    mostMiB = Math.max(mostMiB, await residentMiB(instance.pid))
  }, 100)
  const before = await processorSeconds(instance.pid)
  const work = async () => {
    const begun = await api.block('POST', '/backups', { backup: body })
    const { id } = begun.body.backup
    const done = await api.until(
      'the backup',
      () => api.block('GET', `/backups/${id}`),
      (answer) => answer.body.backup.status !== 'creating',
    )
    const { status, fail_reason: reason } = done.body.backup
    if (status !== 'available') throw new Error(`the backup is ${status}: ${reason}`)
  }
  const milliseconds = await timed(work).finally(() => clearInterval(watching))
  const cores = ((await processorSeconds(instance.pid)) - before) / (milliseconds / 1000)
  return { milliseconds, cores, mostMiB }
}

/** Of all threads of a process. */
async function processorSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

async function withDisk(api: Api, id: string, work: (disk: BlockDevice) => Promise<unknown>): Promise<void> {
  const at = await attach(api, id)
  {
    const portal = parsePortal(at.portal)
    if (portal === undefined) throw new Error(`${at.portal} is no portal`)
    await using disk = await openIscsiDisk(
      { portals: [portal], targetName: at.iqn, lun: at.lun, initiatorName: initiator },
      call,
    )
    await work(disk)
    await disk.flush(call)
  }
  const { body } = await api.block('GET', `/attachments?volume_id=${id}`, undefined, '3.27')
  for (const each of body.attachments) {
    await api.block('DELETE', `/attachments/${each.id}`, undefined, '3.27')
  }
  await api.until(
    'the volume to be free',
    () => api.block('GET', `/volumes/${id}`),
    (answer) => answer.body.volume.status === 'available',
  )
}

async function change(disk: BlockDevice, bytes: number): Promise<void> {
  const stretch = Math.floor(bytes / stretches / 4096) * 4096
  await disk.write(Math.floor(stretches / 2) * stretch, randomFillSync(new Uint8Array(stretch)), call)
}

async function* random(bytes: number): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < bytes; done += MiB) yield randomFillSync(new Uint8Array(MiB))
}

function digest(algorithm: string, bytes: number): void {
  const hash = createHash(algorithm)
  const piece = randomFillSync(new Uint8Array(MiB))
  for (let done = 0; done < bytes; done += MiB) hash.update(piece)
  hash.digest()
}
