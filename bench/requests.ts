import { Pool } from 'undici'
import type { Api } from '../test/support/api.ts'
import type { Instance } from '../test/support/instance.ts'
import { median, type Row } from './table.ts'

const clients = 8
const measureMs = 2_000

/** Latency of one client and requests per second of eight, for one URL. */
async function load(origin: string, path: string, token: string): Promise<{ ms: number; perSecond: number }> {
  await using pool = closing(new Pool(origin, { connections: clients }))
  const ask = async () => {
    const answer = await pool.request({ method: 'GET', path, headers: { 'x-auth-token': token } })
    await answer.body.dump()
    if (answer.statusCode !== 200) throw new Error(`${path} answered ${answer.statusCode}`)
  }
  for (let warm = 0; warm < 20; warm++) await ask()
  const latencies: number[] = []
  for (let round = 0; round < 30; round++) {
    const start = performance.now()
    await ask()
    latencies.push(performance.now() - start)
  }
  let answered = 0
  const end = performance.now() + measureMs
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < end) {
        await ask()
        answered += 1
      }
    }),
  )
  return { ms: median(latencies), perSecond: answered / (measureMs / 1e3) }
}

function closing(pool: Pool): Pool & AsyncDisposable {
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.close() })
}

/** Lists with 0, 100 and 1,000 rows, and the creation of the volumes that fill them. */
export async function benchRequests(instance: Instance, api: Api): Promise<Row[]> {
  const rows: Row[] = []
  const host = 'http://127.0.0.1'
  let volumes = 0
  let images = 0
  const createMs: number[] = []
  const unlimited = { quota_set: { volumes: -1, gigabytes: -1 } }
  const raised = await api.block('PUT', `/os-quota-sets/${api.projectId}`, unlimited)
  if (raised.status !== 200) throw new Error(`the quota was not raised: ${JSON.stringify(raised.body)}`)

  for (const count of [0, 100, 1_000]) {
    const start = performance.now()
    const missing = count - volumes
    await inParallel(missing, async () => {
      const begun = performance.now()
      const answer = await api.block('POST', '/volumes', { volume: { size: 1, name: `bench-${volumes++}` } })
      if (answer.status !== 202)
        throw new Error(`create answered ${answer.status} ${JSON.stringify(answer.body)}`)
      const id: string = answer.body.volume.id
      await api.until(
        `volume ${id}`,
        () => api.block('GET', `/volumes/${id}`),
        ({ body }) => body.volume.status === 'available',
      )
      createMs.push(performance.now() - begun)
    })
    if (missing > 0) {
      const seconds = (performance.now() - start) / 1e3
      rows.push({
        what: `create ${missing} volumes, ${clients} clients`,
        ours: `${(missing / seconds).toFixed(1)}/s`,
      })
    }
    const detail = await load(
      `${host}:${instance.portBase + 1}`,
      `/v3/${api.projectId}/volumes/detail`,
      api.token,
    )
    rows.push({ what: `GET volumes/detail, ${count} volumes`, ours: report(detail) })

    await inParallel(count - images, async () => {
      await api.image('POST', '/images', { name: `bench-${images++}` })
    })
    const list = await load(`${host}:${instance.portBase + 2}`, '/v2/images?limit=1000', api.token)
    rows.push({ what: `GET images, ${count} images`, ours: report(list) })
  }
  rows.push({
    what: `create a volume until available, ${clients} clients`,
    ours: `${median(createMs).toFixed(0)} ms`,
  })
  return rows
}

const report = (result: { ms: number; perSecond: number }) =>
  `${result.ms.toFixed(1)} ms, ${result.perSecond.toFixed(0)}/s`

async function inParallel(count: number, work: () => Promise<void>): Promise<void> {
  let left = count
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left-- > 0) await work()
    }),
  )
}
