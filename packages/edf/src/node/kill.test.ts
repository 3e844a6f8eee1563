import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Database } from './database/database.ts'
import { ThinStore } from './store/thin-store.ts'
import { type Json, NodeUnderTest, temporaryDirectory } from './testing.ts'

/** Kills per run; more with EMBERGLASS_TEST_KILLS. */
const kills = Number(process.env['EMBERGLASS_TEST_KILLS'] ?? 3)

interface Running {
  readonly child: ChildProcess
  readonly httpUrl: string
  readonly password: string
}

async function spawnNode(directory: string): Promise<Running> {
  const script = join(import.meta.dirname, 'testing-process.ts')
  const child = spawn(process.execPath, ['--conditions=source', script, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return { child, ...JSON.parse(line) }
}

/** Creates, snapshots, clones, grows and deletes as fast as it goes, until the node is gone. */
class Churn {
  /** Acknowledged: id → size in GiB. */
  readonly living = new Map<string, number>()
  /** Acknowledged as deleted. */
  readonly dead = new Set<string>()
  readonly #node: Running
  #key = ''
  #count = 0

  constructor(node: Running) {
    this.#node = node
  }

  async login(): Promise<void> {
    this.#key = (await this.#call('PUT', '/login', { name: 'admin', password: this.#node.password })).key
  }

  async run(worker: number): Promise<void> {
    try {
      for (;;) await this.#round(worker)
    } catch (error) {
      // The node was killed: fetch says so with a TypeError. Anything else is a failure of the test.
      if (!(error instanceof TypeError)) throw error
    }
  }

  async #round(worker: number): Promise<void> {
    const name = `w${worker}-${process.pid}-${Date.now()}-${this.#count++}`
    const ai = await this.#call('POST', '/app_instances', {
      name,
      storage_instances: [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: 1 }] }],
    })
    this.living.set(ai.data.id, 1)
    const volume = ai.data.storage_instances[0].volumes[0].path
    const snapshot = await this.#call('POST', `${volume}/snapshots`, {})
    const clone = await this.#call('POST', '/app_instances', {
      name: `${name}-clone`,
      clone_snapshot_src: { path: snapshot.path },
    })
    this.living.set(clone.data.id, 1)
    await this.#call('PUT', volume, { size: 2 })
    this.living.set(ai.data.id, 2)
    await this.#call('POST', `${ai.data.path}/snapshots`, {})
    const doomed = this.#count % 2 === 0 ? ai.data : clone.data
    const size = this.living.get(doomed.id) ?? 0
    this.living.delete(doomed.id)
    await this.#call('DELETE', doomed.path, { force: true }).catch((error: unknown) => {
      // Not acknowledged: it may be there or not.
      this.#unsure.set(doomed.id, size)
      throw error
    })
    this.dead.add(doomed.id)
  }

  readonly #unsure = new Map<string, number>()

  async #call(method: string, path: string, body: unknown): Promise<Json> {
    const response = await fetch(`${this.#node.httpUrl}/v2.2${path}`, {
      method,
      headers: { 'auth-token': this.#key, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const answer: Json = await response.json()
    assert.equal(response.status, 200, JSON.stringify(answer))
    return answer
  }
}

test('a node that is killed at any moment keeps what it acknowledged and leaves nothing half-made', async (t) => {
  const directory = await temporaryDirectory(t)
  for (let round = 0; round < kills; round++) {
    const running = await spawnNode(directory)
    const churn = new Churn(running)
    await churn.login()
    const workers = [0, 1, 2].map((worker) => churn.run(worker))
    await sleep(200 + Math.random() * 800)
    running.child.kill('SIGKILL')
    await Promise.all([...workers, once(running.child, 'exit')])

    const edf = await NodeUnderTest.start({ after: () => {} }, { directory })
    for (const [id, size] of churn.living) {
      const ai = await edf.ok('GET', `/app_instances/${id}`)
      const [si] = ai.storage_instances
      assert.equal(si.op_state, 'available')
      assert.ok(si.volumes[0].size >= size)
    }
    for (const id of churn.dead) await edf.refused(404, 'NotFoundError', 'GET', `/app_instances/${id}`)
    await edf.node.close()
    assert.deepEqual(edf.failures, [])
    await compare(directory)
  }
})

/** The store has exactly what the metadata know, and both are sound. */
async function compare(directory: string): Promise<void> {
  const database = new Database(join(directory, 'metadata.sqlite'))
  const store = await ThinStore.open({ directory: join(directory, 'store') })
  try {
    const rows = database.all<{ store_id: string; state: string; size_gib: number }>(
      `SELECT store_id, state, size_gib FROM volume UNION ALL SELECT store_id, state, size_gib FROM snapshot`,
    )
    assert.deepEqual(
      rows.filter(({ state }) => state !== 'ready'),
      [],
    )
    assert.deepEqual(
      store
        .list()
        .map(({ id, sizeBytes }) => `${id} ${sizeBytes / 2 ** 30}`)
        .sort(),
      rows.map(({ store_id, size_gib }) => `${store_id} ${size_gib}`).sort(),
    )
    assert.equal(database.get<{ integrity_check: string }>('PRAGMA integrity_check')?.integrity_check, 'ok')
    assert.deepEqual(database.all('PRAGMA foreign_key_check'), [])
  } finally {
    await store[Symbol.asyncDispose]()
    database.close()
  }
}
