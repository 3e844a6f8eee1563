import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { CephSettings } from './cluster.ts'

const run = promisify(execFile)
const script = join(import.meta.dirname, '..', '..', 'test', 'servers', 'ceph-up.sh')
const countLimitMs = 120_000
const startTimeoutMs = 540_000 // it may have to install Debian's packages

/** A real Ceph cluster on loopback. It stays up: other test processes may use it. */
export interface TestCeph {
  /** How the administrator reaches it. */
  readonly settings: CephSettings
  /** Answers of the `ceph`, `rbd` and `rados` programs. */
  ceph(...parameters: readonly string[]): Promise<string>
  rbd(...parameters: readonly string[]): Promise<string>
  rados(...parameters: readonly string[]): Promise<string>
  /** An empty pool for one test; disposing it removes it. */
  pool(): Promise<{ readonly name: string } & AsyncDisposable>
}

let shared: Promise<TestCeph> | undefined

/** Starts the cluster of this machine's tests, once. @throws when it does not come up, with what it printed */
export function testCeph(): Promise<TestCeph> {
  shared ??= start()
  return shared
}

async function start(): Promise<TestCeph> {
  const { stdout } = await run(script, { timeout: startTimeoutMs })
  const file = /^CEPH_CONF=(.*)$/m.exec(stdout)?.[1]
  if (file === undefined) throw new Error(`${script} printed no CEPH_CONF:\n${stdout}`)
  const program = async (name: string, parameters: readonly string[]) =>
    (await run(name, ['-c', file, ...parameters], { maxBuffer: 64 * 1024 * 1024 })).stdout
  const ceph: TestCeph['ceph'] = (...parameters) => program('ceph', parameters)
  const rbd: TestCeph['rbd'] = (...parameters) => program('rbd', parameters)
  return {
    settings: { configurationFile: file, clusterName: 'ceph', user: undefined, timeoutSeconds: -1 },
    ceph,
    rbd,
    rados: (...parameters) => program('rados', parameters),
    async pool() {
      const name = `test-${randomBytes(6).toString('hex')}`
      await ceph('osd', 'pool', 'create', name, '1', '1')
      await rbd('pool', 'init', name)
      await untilCounted(name, ceph)
      return {
        name,
        [Symbol.asyncDispose]: async () => {
          await ceph('osd', 'pool', 'delete', name, name, '--yes-i-really-really-mean-it')
        },
      }
    },
  }
}

/** Ceph tells the usage of a new pool only after its manager has counted it, some seconds later. */
async function untilCounted(pool: string, ceph: TestCeph['ceph']): Promise<void> {
  const limit = performance.now() + countLimitMs
  while (!(await ceph('df', '--format', 'json')).includes(`"${pool}"`)) {
    if (performance.now() > limit) throw new Error(`Ceph does not count the new pool ${pool}`)
    await sleep(200)
  }
}
