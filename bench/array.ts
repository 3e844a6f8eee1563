import { EdfClient, type EdfScope } from '@emberglass/edf/client'
import { startEdfNode } from '@emberglass/edf/node'
import { median, type Row, timed } from './table.ts'

const tebibyteGib = 1024
const rounds = 20
const call = { signal: new AbortController().signal }

/** @returns how long each of `rounds` took: the middle one and the slowest, beside the aim */
async function latency(what: string, aimMs: number, act: (round: number) => Promise<unknown>): Promise<Row> {
  const times: number[] = []
  for (let round = 0; round < rounds; round++) times.push(await timed(() => act(round)))
  const slowest = Math.max(...times)
  return {
    what,
    ours: `${median(times).toFixed(1)} ms, slowest ${slowest.toFixed(0)} ms`,
    peer: `aim: ${aimMs} ms`,
  }
}

function request(name: string, size: number) {
  const volumes = [{ name: 'volume-1', size, replica_count: 1 }]
  return { name, storage_instances: [{ name: 'storage-1', volumes }] }
}

async function tebibytes(root: EdfScope): Promise<Row[]> {
  const made = await root.appInstances.create(request('source', tebibyteGib), call)
  const path = made.storage_instances[0]?.volumes[0]?.path ?? ''
  const source = { clone_volume_src: { path } }
  return [
    await latency('create a volume of 1 TiB', 100, (round) =>
      root.appInstances.create(request(`large-${round}`, tebibyteGib), call),
    ),
    await latency('snapshot of it', 100, () => root.snapshots(path).create({}, call)),
    await latency('clone of it', 100, (round) =>
      root.appInstances.create({ name: `clone-${round}`, ...source }, call),
    ),
  ]
}

/** Fills the node up to `count` app instances, and lists them. */
async function list(root: EdfScope, count: number): Promise<Row[]> {
  let next = (await root.appInstances.list({}, call)).length
  const fillMs = await timed(async () => {
    const worker = async () => {
      while (next < count) await root.appInstances.create(request(`many-${next++}`, 1), call)
    }
    await Promise.all(Array.from({ length: 16 }, worker))
  })
  let found = 0
  const listMs = await timed(async () => {
    for await (const _ of root.appInstances.iterate({}, call)) found++
  })
  if (found < count) throw new Error(`${found} of ${count} app instances were listed`)
  const filter = `match(name,.*many-${count - 1}.*)`
  return [
    { what: `fill up to ${count} volumes, 16 at once`, ours: `${(fillMs / 1000).toFixed(1)} s` },
    { what: `list ${count} volumes, page by page`, ours: `${listMs.toFixed(0)} ms`, peer: 'aim: 1000 ms' },
    await latency(`find one of ${count} by a filter`, 100, () => root.appInstances.list({ filter }, call)),
  ]
}

/**
 * The EDF node's REST interface: volumes of 1 TiB, and long lists. The node runs in this process, with the client.
 * @param directory for the node; its parent has to exist
 * @param count of volumes in the long list
 */
export async function benchArray(directory: string, count: number): Promise<Row[]> {
  const anyPort = { host: '127.0.0.1', port: 0 }
  const start = () =>
    startEdfNode({ directory, host: '127.0.0.1', httpPort: 0, httpsPort: 0, iscsi: anyPort })
  const node = await start()
  const { port } = new URL(node.httpUrl)
  const credentials = { login: node.login, password: node.password, driver: 'Bench-1.0' }
  const client = await EdfClient.connect(
    { host: '127.0.0.1', port: Number(port), tls: false, ...credentials },
    call,
  )
  const root = client.in('/root')
  const rows = [...(await tebibytes(root)), ...(await list(root, count))]
  await client.close()
  const stopMs = await timed(() => node.close())
  let again = node
  const startMs = await timed(async () => {
    again = await start()
  })
  await again.close()
  return [
    ...rows,
    { what: `stop the node with ${count} volumes`, ours: `${stopMs.toFixed(0)} ms` },
    { what: `start it again, all targets exported`, ours: `${startMs.toFixed(0)} ms` },
  ]
}
