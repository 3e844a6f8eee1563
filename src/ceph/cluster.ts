import type { Call } from '../kernel/call.ts'
import { BackendError } from '../kernel/errors.ts'
import {
  type CephLibrary,
  cephLibrary,
  type FunctionName,
  type Handle,
  handleIn,
  outHandle,
} from './library.ts'
import { RbdPool } from './pool.ts'

/** How to reach a cluster. */
export interface CephSettings {
  /** Path of `ceph.conf`; empty: where Ceph looks for it. */
  readonly configurationFile: string
  /** Name of the cluster, `ceph` nearly everywhere. */
  readonly clusterName: string
  /** Without `client.`; undefined: `admin`. */
  readonly user: string | undefined
  /** Seconds that the cluster may take to answer; negative: 30 for monitors, 120 for data. */
  readonly timeoutSeconds: number
}

const defaultMonitorTimeoutSeconds = 30
const defaultDataTimeoutSeconds = 120

/** Failures come back as errors: the library has no business on our standard error. */
const quiet = [
  ['log_to_stderr', 'false'],
  ['err_to_stderr', 'false'],
] as const

/** What a pool holds and may still take, in bytes of user data (replicas not counted). */
export interface PoolUsage {
  readonly usedBytes: number
  readonly freeBytes: number
}

/** A connection to a Ceph cluster. Calls that were aborted end in the background; disposing waits for them. */
export class CephCluster implements AsyncDisposable {
  readonly library: CephLibrary
  readonly settings: CephSettings
  /** The cluster's id, a UUID: part of `rbd://` locations. */
  readonly fsid: string
  readonly #cluster: Handle
  readonly #underWay = new Set<Promise<unknown>>()
  readonly #pools = new Map<string, RbdPool>()

  private constructor(library: CephLibrary, settings: CephSettings, cluster: Handle, fsid: string) {
    this.library = library
    this.settings = settings
    this.#cluster = cluster
    this.fsid = fsid
  }

  /** @throws Misconfigured without the libraries; NotFound without `ceph.conf`; BackendError when nobody answers */
  static async connect(settings: CephSettings, call: Call): Promise<CephCluster> {
    const library = cephLibrary()
    call.signal.throwIfAborted()
    const out = outHandle()
    const user = `client.${settings.user ?? 'admin'}`
    library.call('rados_create2', out, settings.clusterName, user, 0)
    const cluster = handleIn(out)
    const connecting = (async () => {
      try {
        library.call('rados_conf_read_file', cluster, settings.configurationFile || null)
        for (const [option, value] of [...timeouts(settings.timeoutSeconds), ...quiet]) {
          library.call('rados_conf_set', cluster, option, String(value))
        }
        await library.run('rados_connect', cluster)
        const fsid = Buffer.alloc(64)
        const length = library.call('rados_cluster_fsid', cluster, fsid, fsid.byteLength)
        return new CephCluster(library, settings, cluster, fsid.toString('latin1', 0, length))
      } catch (error) {
        await library.run('rados_shutdown', cluster)
        throw new BackendError(
          `The Ceph cluster of ${settings.configurationFile || 'the default ceph.conf'} cannot be reached as ` +
            `${user}: ${error instanceof Error ? error.message : String(error)}`,
          { left: 'nothing', retryAfterMs: 5_000, cause: error },
        )
      }
    })()
    return await untilAborted(connecting, call.signal, (late) => late[Symbol.asyncDispose]())
  }

  /**
   * Runs a function of the library on another thread.
   * @param undo what to do with the result of a call that was aborted, once it ends
   */
  async run(
    call: { readonly signal: AbortSignal },
    name: FunctionName,
    parameters: readonly unknown[],
    undo?: () => Promise<void>,
  ): Promise<number> {
    call.signal.throwIfAborted()
    const running = this.library.run(name, ...parameters)
    const tracked = running.catch(() => {})
    this.#underWay.add(tracked)
    void tracked.then(() => this.#underWay.delete(tracked))
    return await untilAborted(running, call.signal, async () => undo?.())
  }

  /** Asks the monitors. @returns what they answer in JSON */
  async monitor(command: Readonly<Record<string, string>>, call: Call): Promise<unknown> {
    const output = outHandle()
    const outputLength: (number | bigint)[] = [0]
    const status = outHandle()
    const line = JSON.stringify({ ...command, format: 'json' })
    await this.run(call, 'rados_mon_command', [
      this.#cluster,
      [line],
      1,
      '',
      0,
      output,
      outputLength,
      status,
      [0],
    ])
    const answer = handleIn(output)
    const text = this.library.bytes(answer, Number(outputLength[0] ?? 0)).toString()
    this.library.call('rados_buffer_free', answer)
    if (status[0]) this.library.call('rados_buffer_free', status[0])
    return JSON.parse(text)
  }

  /** @throws NotFound when there is no such pool */
  async usage(pool: string, call: Call): Promise<PoolUsage> {
    const { pools } = (await this.monitor({ prefix: 'df' }, call)) as {
      pools: { name: string; stats: { stored?: number; bytes_used: number; max_avail: number } }[]
    } // the monitors' format since Luminous
    const stats = pools.find((candidate) => candidate.name === pool)?.stats
    if (stats === undefined)
      throw new BackendError(`There is no pool ${pool} in this cluster.`, { left: 'nothing' })
    return { usedBytes: stats.stored ?? stats.bytes_used, freeBytes: stats.max_avail }
  }

  /** Addresses of the monitors, for clients that connect by themselves. */
  async monitorAddresses(call: Call): Promise<readonly { host: string; port: string }[]> {
    const { mons } = (await this.monitor({ prefix: 'mon dump' }, call)) as {
      mons: { addr: string; public_addrs?: { addrvec: { type: string; addr: string }[] } }[]
    } // the monitors' format since Nautilus, and the old one
    return mons.map((monitor) => {
      const vector = monitor.public_addrs?.addrvec ?? []
      const address = vector.find((entry) => entry.type === 'v1')?.addr ?? monitor.addr
      const colon = address.lastIndexOf(':')
      return { host: address.slice(0, colon), port: address.slice(colon + 1).replace(/\/.*$/, '') }
    })
  }

  /** A pool's images. One object per pool, closed with the cluster. @throws NotFound */
  async pool(name: string, call: Call): Promise<RbdPool> {
    const known = this.#pools.get(name)
    if (known !== undefined) return known
    const out = outHandle()
    await this.run(call, 'rados_ioctx_create', [this.#cluster, name, out])
    const again = this.#pools.get(name)
    if (again !== undefined) {
      this.library.call('rados_ioctx_destroy', handleIn(out))
      return again
    }
    const pool = new RbdPool(this, name, handleIn(out))
    this.#pools.set(name, pool)
    return pool
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#underWay)
    for (const pool of this.#pools.values()) this.library.call('rados_ioctx_destroy', pool.io)
    this.#pools.clear()
    await this.library.run('rados_shutdown', this.#cluster)
  }
}

function timeouts(seconds: number): readonly (readonly [string, number])[] {
  const monitors = seconds < 0 ? defaultMonitorTimeoutSeconds : seconds
  const data = seconds < 0 ? defaultDataTimeoutSeconds : seconds
  return [
    ['client_mount_timeout', monitors],
    ['rados_mon_op_timeout', monitors],
    ['rados_osd_op_timeout', data],
  ]
}

/** The promise's result, or the signal's reason as soon as it is aborted; a result that comes too late is undone. */
async function untilAborted<Result>(
  promise: Promise<Result>,
  signal: AbortSignal,
  undo: (late: Result) => Promise<void>,
): Promise<Result> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => {
    promise.then(undo).catch(() => {}) // it failed by itself, or could not be undone: nobody waits any more
    aborted.reject(signal.reason)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
