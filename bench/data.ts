import { execFile } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { request } from 'undici'
import { type Api, apiOf } from '../test/support/api.ts'
import type { Instance } from '../test/support/instance.ts'
import { megabytesPerSecond, type Row, timed } from './table.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
export const initiator = 'iqn.1993-08.org.debian:01:bench'

/** Upload, download, image to volume, each beside what bounds it on this machine, in the same run. */
export async function benchData(instance: Instance, directory: string, mebibytes: number): Promise<Row[]> {
  const api = await apiOf(instance)
  const rows: Row[] = []
  const bytes = mebibytes * MiB
  const source = join(directory, 'random.raw')
  await makeRandom(source, mebibytes)
  const size = `${mebibytes} MiB`

  const hashing = megabytesPerSecond(bytes, await timed(() => hashFile(source)))
  const writing = megabytesPerSecond(
    bytes,
    await timed(() =>
      run('dd', [
        `if=${source}`,
        `of=${join(directory, 'dd.raw')}`,
        'bs=1M',
        'conv=fdatasync',
        'status=none',
      ]),
    ),
  )

  const image = await api.image('POST', '/images', {
    name: 'bench',
    disk_format: 'raw',
    container_format: 'bare',
  })
  const url = `http://127.0.0.1:${instance.portBase + 2}/v2/images/${image.body.id}/file`
  const uploading = megabytesPerSecond(
    bytes,
    // curl, as most clients, is light: one in this process would take its time from the server's
    await timed(() =>
      run('curl', [
        ...['--silent', '--fail', '--upload-file', source],
        ...[
          '--header',
          `x-auth-token: ${api.token}`,
          '--header',
          'content-type: application/octet-stream',
          url,
        ],
      ]),
    ),
  )
  const bound = Math.min(hashing, writing)
  rows.push({
    what: `upload ${size}, file store`,
    ours: `${uploading.toFixed(0)} MB/s`,
    peer: `SHA-512 alone ${hashing.toFixed(0)}, dd fdatasync ${writing.toFixed(0)} MB/s`,
    ratio: uploading / bound,
  })

  const downloading = megabytesPerSecond(
    bytes,
    await timed(async () => {
      const answer = await request(url, { headers: { 'x-auth-token': api.token } })
      let received = 0
      for await (const chunk of answer.body) received += chunk.byteLength
      if (received !== bytes) throw new Error(`downloaded ${received} bytes`)
    }),
  )
  rows.push({ what: `download ${size}, file store`, ours: `${downloading.toFixed(0)} MB/s` })

  const gibibytes = Math.ceil(mebibytes / 1024)
  const copying = megabytesPerSecond(bytes, await timed(() => createVolume(api, gibibytes, image.body.id)))
  const empty = await createVolume(api, gibibytes)
  const at = await attach(api, empty)
  const converting = megabytesPerSecond(
    bytes,
    await timed(() =>
      run('qemu-img', [
        ...['convert', '-n', '-f', 'raw', '-t', 'none', source],
        ...[
          '--target-image-opts',
          `driver=iscsi,transport=tcp,portal=${at.portal},target=${at.iqn},lun=${at.lun},initiator-name=${initiator}`,
        ],
      ]),
    ),
  )
  rows.push({
    what: `image to volume ${size}, until available`,
    ours: `${copying.toFixed(0)} MB/s`,
    peer: `qemu-img convert to the same array ${converting.toFixed(0)} MB/s`,
    ratio: copying / converting,
  })
  return rows
}

/** @returns the volume's id, once it is available */
export async function createVolume(api: Api, gibibytes: number, imageRef?: string): Promise<string> {
  const answer = await api.block('POST', '/volumes', {
    volume: { size: gibibytes, name: 'bench', ...(imageRef === undefined ? {} : { imageRef }) },
  })
  const id: string = answer.body.volume.id
  const done = await api.until(
    'the volume',
    () => api.block('GET', `/volumes/${id}`),
    ({ body }) => !body.volume.status.endsWith('ing'),
  )
  if (done.body.volume.status !== 'available') throw new Error(`the volume is ${done.body.volume.status}`)
  return id
}

export async function attach(api: Api, id: string): Promise<{ portal: string; iqn: string; lun: number }> {
  const answer = await api.block(
    'POST',
    '/attachments',
    {
      attachment: {
        volume_uuid: id,
        instance_uuid: '6d6b0d4b-5e8e-4f0e-8b0f-0c6b6f8a3c11',
        connector: { initiator, ip: '127.0.0.1', host: 'bench', multipath: false },
      },
    },
    '3.27',
  )
  const connection = answer.body.attachment.connection_info
  return { portal: connection.target_portal, iqn: connection.target_iqn, lun: connection.target_lun }
}

export async function makeRandom(path: string, mebibytes: number): Promise<void> {
  await using file = await open(path, 'w')
  const chunk = new Uint8Array(8 * MiB)
  for (let done = 0; done < mebibytes; done += 8) await file.write(randomFillSync(chunk))
  await file.datasync()
}

export async function hashFile(path: string): Promise<void> {
  const hash = createHash('sha512')
  for await (const chunk of createReadStream(path, { highWaterMark: MiB })) hash.update(chunk)
  hash.digest()
}

/** Uploads zeroes and watches how much memory the process takes meanwhile. */
export async function benchMemory(instance: Instance, gibibytes: number): Promise<Row[]> {
  const api = await apiOf(instance)
  const image = await api.image('POST', '/images', {
    name: 'memory',
    disk_format: 'raw',
    container_format: 'bare',
  })
  const before = await residentMiB(instance.pid)
  let highest = before
  const watching = setInterval(async () => {
    highest = Math.max(highest, await residentMiB(instance.pid))
  }, 100)
  const bytes = gibibytes * 1024 * MiB
  const answer = await request(`http://127.0.0.1:${instance.portBase + 2}/v2/images/${image.body.id}/file`, {
    method: 'PUT',
    headers: {
      'x-auth-token': api.token,
      'content-type': 'application/octet-stream',
      'content-length': String(bytes),
    },
    body: Readable.from(repeated(bytes), { objectMode: false }),
    bodyTimeout: 600_000,
    headersTimeout: 600_000,
  })
  await answer.body.dump()
  if (answer.statusCode !== 204) throw new Error(`upload answered ${answer.statusCode}`)
  await createVolume(api, gibibytes, image.body.id)
  clearInterval(watching)
  return [
    {
      what: `controller's memory while ${gibibytes} GiB go up and to a volume`,
      ours: `${before.toFixed(0)} → at most ${highest.toFixed(0)} MiB`,
    },
  ]
}

function* repeated(bytes: number): Generator<Uint8Array> {
  const chunk = randomFillSync(new Uint8Array(MiB))
  for (let done = 0; done < bytes; done += MiB) yield chunk
}

/** Resident memory of a process in MiB. */
export async function residentMiB(pid: number): Promise<number> {
  await using file = await open(`/proc/${pid}/status`)
  const text = await file.readFile('utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024
}
