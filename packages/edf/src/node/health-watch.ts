import type { NodeContext } from './context.ts'
import { degradedVolumes } from './resources/copies-view.ts'

/** How often the node looks at itself, milliseconds. */
const intervalMs = 30_000
/** Share of the capacity that is free, below which it is low. */
const lowShare = 0.05

type Watched = Pick<NodeContext, 'alerts' | 'database' | 'exports' | 'store'>

/** Looks at the node's health now and then, and keeps the alerts in line. */
export class HealthWatch {
  readonly #node: Watched & Pick<NodeContext, 'unfinished'>
  readonly #failed: (error: unknown) => void
  readonly #timer: NodeJS.Timeout

  constructor(node: Watched & Pick<NodeContext, 'unfinished'>, failed: (error: unknown) => void) {
    this.#node = node
    this.#failed = failed
    this.#timer = setInterval(() => this.look(), intervalMs)
    this.#timer.unref()
  }

  /** Looks now: something is known to have changed. */
  look(): void {
    try {
      void this.#node.unfinished.retry()
      checkHealth(this.#node)
    } catch (error) {
      this.#failed(error)
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

/** Raises an alert for whatever is wrong, and settles those whose reason has gone. Repeats safely. */
function checkHealth(node: Watched): void {
  node.database.transaction(() => {
    checkTargets(node)
    checkCapacity(node)
    checkCopies(node)
  })
}

function checkTargets({ alerts, database, exports }: Watched): void {
  const failures = exports.failures()
  const rows = database.all<{ uuid: string; path: string; tenant: string }>(
    `SELECT si.uuid, '/app_instances/' || ai.id || '/storage_instances/' || si.name AS path, ai.tenant
     FROM storage_instance si JOIN app_instance ai ON ai.id = si.app_instance
     WHERE si.uuid IN (SELECT value FROM json_each(?))`,
    JSON.stringify([...failures.keys()]),
  )
  for (const { uuid, path, tenant } of rows) {
    alerts.raise({
      code: 'STORAGE_INSTANCE_FAILED',
      severity: 'critical',
      description: `the target cannot be exported: ${failures.get(uuid)}`,
      tenant,
      object_path: path,
    })
  }
  alerts.settle(
    'STORAGE_INSTANCE_FAILED',
    rows.map(({ path }) => path),
  )
}

function checkCapacity({ alerts, store }: Watched): void {
  const { totalBytes, freeBytes } = store.usage()
  const isLow = freeBytes < totalBytes * lowShare
  if (isLow) {
    alerts.raise({
      code: 'CAPACITY_LOW',
      severity: 'warning',
      description: `${freeBytes} of ${totalBytes} bytes are free`,
      tenant: '/root',
      object_path: '/system',
    })
  } else {
    alerts.settle('CAPACITY_LOW')
  }
}

function checkCopies(node: Watched): void {
  const { alerts, store } = node
  const missing = store.media.filter(({ failure }) => failure !== undefined)
  for (const { path, failure } of missing) {
    alerts.raise({
      code: 'MEDIUM_FAILED',
      severity: 'critical',
      description: `the data directory ${path} is missing: ${failure}`,
      tenant: '/root',
      object_path: path,
    })
  }
  alerts.settle(
    'MEDIUM_FAILED',
    missing.map(({ path }) => path),
  )
  const degraded = degradedVolumes(node)
  if (degraded > 0) {
    alerts.raise({
      code: 'REPLICAS_DEGRADED',
      severity: 'warning',
      description: `${degraded} volumes have fewer copies than their replica_count`,
      tenant: '/root',
      object_path: '/system',
    })
  } else {
    alerts.settle('REPLICAS_DEGRADED')
  }
}
