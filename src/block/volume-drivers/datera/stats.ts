import type { System } from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import type { Pool } from '../../volume-driver.ts'
import type { Operation } from './operation.ts'
import { driverVersion } from './settings.ts'

/** The array as one pool, named like the backend. */
export function poolOf(operation: Operation, system: System): Pool {
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
    },
  }
}

function inGib(bytes: number | undefined): number {
  return Math.round(((bytes ?? 0) / GiB) * 100) / 100
}
