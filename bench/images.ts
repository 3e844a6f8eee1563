import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { openIscsiDisk, parsePortal, writeStream } from '@emberglass/iscsi'
import { type Api, apiOf } from '../test/support/api.ts'
import { type Instance, startInstance } from '../test/support/instance.ts'
import { attach, createVolume, hashFile, initiator, makeRandom } from './data.ts'
import { median, megabytesPerSecond, type Row, timed } from './table.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
const GiB = 1024 * MiB
const octets = 'content-type: application/octet-stream'
/** Ours and the peer take turns so often: the machine's speed drifts meanwhile, and the middle ratio stays. */
const rounds = 3
const uploadsAtOnce = 8
/** `_SC_CLK_TCK` of Linux. */
const ticksPerSecond = 100

/** An instance whose images can go to files, thin files, the array, and volumes. */
async function startWithStores(stateDirectory: string): Promise<Instance> {
  const first = await startInstance({ stateDirectory }) // makes the passwords that the stores need
  const { OS_PASSWORD: password, OS_USERNAME: user, OS_PROJECT_NAME: project } = await first.environment()
  await first.stop()
  const text = await readFile(join(stateDirectory, 'edf.env'), 'utf8')
  const array = Object.fromEntries(
    [...text.matchAll(/^(\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]),
  )
  const conf = `[DEFAULT]
enabled_backends = file:file, thin:file, datera:datera, cinder:cinder
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = ${join(stateDirectory, 'files')}
[thin]
filesystem_store_datadir = ${join(stateDirectory, 'thin')}
filesystem_thin_provisioning = true
[datera]
datera_san_ip = ${array['EDF_HOST']}
datera_san_login = ${array['EDF_LOGIN']}
datera_san_password = ${array['EDF_PASSWORD']}
datera_san_port = ${array['EDF_PORT']}
[cinder]
cinder_store_auth_address = http://127.0.0.1:${first.portBase}/v3
cinder_store_project_name = ${project}
cinder_store_user_name = ${user}
cinder_store_password = ${password}
`
  await writeFile(join(stateDirectory, 'glance-api.conf'), conf, { mode: 0o600 })
  return await startInstance({ stateDirectory, portBase: first.portBase })
}

class Images {
  readonly #instance: Instance
  readonly #api: Api

  constructor(instance: Instance, api: Api) {
    this.#instance = instance
    this.#api = api
  }

  async create(): Promise<string> {
    const body = { name: 'bench', disk_format: 'raw', container_format: 'bare' }
    return (await this.#api.image('POST', '/images', body)).body.id
  }

  url(id: string): string {
    return `http://127.0.0.1:${this.#instance.portBase + 2}/v2/images/${id}/file`
  }

  /** By curl, which is light, as most clients are: one in this process would take its time from the server's. */
  async upload(id: string, path: string, store = 'file'): Promise<void> {
    const headers = [`x-auth-token: ${this.#api.token}`, octets, `x-image-meta-store: ${store}`]
    await run('curl', [
      ...['--silent', '--show-error', '--fail', '--upload-file', path],
      ...headers.flatMap((header) => ['--header', header]),
      this.url(id),
    ])
  }

  async download(id: string): Promise<void> {
    await curlAway(this.url(id), '--header', `x-auth-token: ${this.#api.token}`)
  }

  async delete(id: string): Promise<void> {
    await this.#api.image('DELETE', `/images/${id}`)
  }

  /** An upload and its removal. @returns milliseconds of the upload */
  async uploadOnce(path: string, store?: string): Promise<number> {
    const id = await this.create()
    const elapsedMs = await timed(() => this.upload(id, path, store))
    await this.delete(id)
    return elapsedMs
  }
}

async function curlAway(url: string, ...more: string[]): Promise<void> {
  await run('curl', ['--silent', '--show-error', '--fail', '--output', '/dev/null', ...more, url])
}

/** What the image service does with data, each beside what bounds it or a peer, in turns. */
export async function benchImages(directory: string, mebibytes: number): Promise<Row[]> {
  await using instance = await startWithStores(join(directory, 'images-state'))
  const api = await apiOf(instance)
  const images = new Images(instance, api)
  const source = join(directory, 'image.raw')
  await makeRandom(source, mebibytes)
  return [
    ...(await uploads(instance, images, directory, source)),
    await parallelUploads(images, directory, mebibytes),
    await downloads(images, source),
    ...(await blockStores(api, images, source)),
    ...(await sparse(images, instance, directory, source)),
  ]
}

/** Middle rates and the middle of the ratios of two things that were done in turns, of `bytes` each. */
function inTurns(
  what: string,
  peer: string,
  bytes: number,
  pairs: readonly (readonly [number, number])[],
): Row {
  const rate = (side: 0 | 1) => megabytesPerSecond(bytes, median(pairs.map((pair) => pair[side]))).toFixed(0)
  return {
    what,
    ours: `${rate(0)} MB/s`,
    peer: `${peer} ${rate(1)} MB/s`,
    ratio: median(pairs.map(([ours, theirs]) => theirs / ours)),
  }
}

async function uploads(
  instance: Instance,
  images: Images,
  directory: string,
  source: string,
): Promise<Row[]> {
  const { size } = await stat(source)
  const copy = join(directory, 'dd.raw')
  const dd = ['bs=1M', 'conv=fdatasync', 'status=none', `if=${source}`, `of=${copy}`]
  const pairs: [number, number][] = []
  const cpuPerGib: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const before = await cpuSeconds(instance.pid)
    const ours = await images.uploadOnce(source)
    cpuPerGib.push(((await cpuSeconds(instance.pid)) - before) / (size / GiB))
    const hashing = await timed(() => hashFile(source))
    const writing = await timed(() => run('dd', dd))
    pairs.push([ours, Math.max(hashing, writing)])
  }
  return [
    inTurns(
      `upload ${size / MiB} MiB, file store`,
      'the slower of SHA-512 alone and dd fdatasync',
      size,
      pairs,
    ),
    { what: 'upload, file store: processor time', ours: `${median(cpuPerGib).toFixed(2)} s per GiB` },
  ]
}

/** User and system time of a process so far. */
async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

async function parallelUploads(images: Images, directory: string, mebibytes: number): Promise<Row> {
  const part = join(directory, 'part.raw')
  await makeRandom(part, Math.max(8, Math.floor(mebibytes / uploadsAtOnce / 8) * 8))
  const { size } = await stat(part)
  const pairs: [number, number][] = []
  for (let round = 0; round < rounds; round += 1) {
    const together = await timed(() =>
      Promise.all(Array.from({ length: uploadsAtOnce }, () => images.uploadOnce(part))),
    )
    const alone = await timed(async () => {
      for (let turn = 0; turn < uploadsAtOnce; turn += 1) await images.uploadOnce(part)
    })
    pairs.push([together, alone])
  }
  const what = `${uploadsAtOnce} uploads of ${size / MiB} MiB at once`
  return inTurns(what, 'one after the other', size * uploadsAtOnce, pairs)
}

/** Beside a server of one file in twelve lines of Node. */
async function downloads(images: Images, source: string): Promise<Row> {
  const { size } = await stat(source)
  const id = await images.create()
  await images.upload(id, source)
  const program = `
    const { createReadStream } = require('node:fs')
    const { pipeline } = require('node:stream')
    const server = require('node:http').createServer((request, response) => {
      response.writeHead(200, { 'content-length': ${size} })
      pipeline(createReadStream(process.argv[1], { highWaterMark: ${MiB} }), response, () => {})
    })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))`
  const server = spawn(process.execPath, ['-e', program, source], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [port] = await once(createInterface(server.stdout), 'line')
    const pairs: [number, number][] = []
    for (let round = 0; round < 2 * rounds; round += 1) {
      const ours = await timed(() => images.download(id))
      pairs.push([ours, await timed(() => curlAway(`http://127.0.0.1:${port}/`))])
    }
    return inTurns(`download ${size / MiB} MiB, file store`, 'a static file server in Node', size, pairs)
  } finally {
    server.kill()
    await images.delete(id)
  }
}

/** Uploads that go through our initiator, beside what it writes without them. */
async function blockStores(api: Api, images: Images, source: string): Promise<Row[]> {
  const { size } = await stat(source)
  const gibibytes = Math.ceil(size / GiB)
  const cancel = { signal: new AbortController().signal }
  const rows: Row[] = []
  for (const store of ['datera', 'cinder']) {
    const pairs: [number, number][] = []
    for (let round = 0; round < rounds; round += 1) {
      const ours = await images.uploadOnce(source, store)
      const at = await attach(api, await createVolume(api, gibibytes))
      const portal = parsePortal(at.portal)
      if (portal === undefined) throw new Error(`${at.portal} is no portal`)
      await using disk = await openIscsiDisk(
        { portals: [portal], targetName: at.iqn, lun: at.lun, initiatorName: initiator },
        cancel,
      )
      const bytes = createReadStream(source, { highWaterMark: MiB })
      pairs.push([ours, await timed(() => writeStream(bytes, disk, { skipZeroes: true }, cancel))])
    }
    rows.push(inTurns(`upload ${size / MiB} MiB, ${store} store`, 'our initiator alone', size, pairs))
  }
  return rows
}

/** How many times longer an image is that has the same data, and holes. */
const sparseFactor = 8

async function sparse(images: Images, instance: Instance, directory: string, source: string): Promise<Row[]> {
  const { size } = await stat(source)
  const path = join(directory, 'sparse.raw')
  await run('cp', [source, path])
  {
    await using file = await open(path, 'r+')
    await file.truncate(size * sparseFactor)
  }
  const rows: Row[] = []
  const array = join(instance.stateDirectory, 'edf')
  for (const [store, kept] of [
    ['thin', join(instance.stateDirectory, 'thin')],
    ['datera', array],
    ['cinder', array],
  ] as const) {
    const measure = async (of: string) => {
      const before = await allocatedBytes(kept)
      const id = await images.create()
      const elapsedMs = await timed(() => images.upload(id, of, store))
      const bytes = (await allocatedBytes(kept)) - before
      return { id, elapsedMs, bytes }
    }
    const dense = await measure(source)
    const holes = await measure(path)
    const hashing = await timed(() => hashFile(path))
    for (const { id } of [dense, holes]) await images.delete(id)
    rows.push({
      what: `${(size * sparseFactor) / MiB} MiB with ${size / MiB} MiB of data, ${store} store`,
      ours: `${(holes.elapsedMs / dense.elapsedMs).toFixed(1)} times the time, ${(holes.bytes / dense.bytes).toFixed(2)} times the space`,
      peer: `of the data alone; SHA-512 of all of it takes ${(hashing / dense.elapsedMs).toFixed(1)} times that time`,
    })
  }
  return rows
}

/** Bytes that the files below a directory take up. */
async function allocatedBytes(directory: string): Promise<number> {
  let blocks = 0
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile())
      blocks += await stat(join(entry.parentPath, entry.name)).then(
        (s) => s.blocks,
        () => 0,
      )
  }
  return blocks * 512
}
