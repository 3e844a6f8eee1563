import type { System } from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import { messageOf } from '../../../kernel/errors.ts'
import type { Pool } from '../../volume-driver.ts'
import type { Operation } from './operation.ts'
import { driverVersion } from './settings.ts'

/** How long an array that is busy is waited for, and how long what it last said counts, in milliseconds. */
const patienceMs = 5_000
const staleMs = 60_000

/** What the array has, and whether it said so just now. */
export interface CapacityFacts {
  readonly system: System
  readonly stale: boolean
}

/** Reads what the array has; when it is busy for a moment, what it said last counts. */
export class Capacity {
  #last: { readonly system: System; readonly at: number } | undefined

  async read({ array, edf, log }: Operation): Promise<CapacityFacts> {
    const last = this.#last
    const fresh = last !== undefined && performance.now() - last.at < staleMs
    const signal = fresh ? AbortSignal.any([edf.signal, AbortSignal.timeout(patienceMs)]) : edf.signal
    try {
      const system = await array.client.system({ ...edf, signal })
      this.#last = { system, at: performance.now() }
      return { system, stale: false }
    } catch (error) {
      edf.signal.throwIfAborted()
      if (!fresh) throw error
      log.warn({ error: messageOf(error) }, 'the array does not say what it has: what it said last counts')
      return { system: last.system, stale: true }
    }
  }
}

/** The array as one pool, named like the backend. */
export function poolOf(operation: Operation, { system, stale }: CapacityFacts): Pool {
  const { settings, backend } = operation
  return {
    name: backend.volumeBackendName,
    totalBytes: system.total_capacity,
    freeBytes: Math.max(0, Math.min(system.available_capacity, system.total_capacity)),
    capabilities: {
      volume_backend_name: backend.volumeBackendName,
      vendor_name: 'Datera',
      driver_version: driverVersion,
      storage_protocol: 'iSCSI',
      total_flash_capacity_gb: inGib(system.all_flash_total_capacity),
      free_flash_capacity_gb: inGib(system.all_flash_available_capacity),
      total_hybrid_capacity_gb: inGib(system.hybrid_total_capacity),
      free_hybrid_capacity_gb: inGib(system.hybrid_available_capacity),
      provisioned_capacity_gb: inGib(system.total_provisioned_capacity),
      reserved_percentage: settings.reservedPercentage,
      max_over_subscription_ratio: settings.maxOverSubscriptionRatio,
      thin_provisioning_support: true,
      thick_provisioning_support: false,
      QoS_support: true,
      multiattach: true,
      online_extend_support: true,
      shared_targets: false,
      replication_enabled: false,
      consistencygroup_support: false,
      compression: system.compression_enabled ?? false,
      compression_ratio: system.compression_ratio ?? '0',
      l3_enabled: system.l3_enabled ?? false,
      ...(stale ? { stale } : {}),
    },
  }
}

function inGib(bytes: number | undefined): number {
  return Math.round(((bytes ?? 0) / GiB) * 100) / 100
}
