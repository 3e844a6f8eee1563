import { type Static, Type } from 'typebox'
import { Health } from './common.ts'

/** The cluster as a whole. Capacities are bytes. */
export const System = Type.Object({
  path: Type.Optional(Type.String()),
  name: Type.String(),
  uuid: Type.String(),
  /** Four numbers, `"3.3.0.0"`; clients decide on features by it. */
  sw_version: Type.String(),
  build_version: Type.Optional(Type.String()),
  op_state: Type.Optional(Type.String()),
  health: Type.Optional(Health),
  causes: Type.Optional(Type.Array(Type.String())),
  total_capacity: Type.Integer(),
  available_capacity: Type.Integer(),
  total_provisioned_capacity: Type.Optional(Type.Integer()),
  hybrid_total_capacity: Type.Optional(Type.Integer()),
  hybrid_available_capacity: Type.Optional(Type.Integer()),
  hybrid_provisioned_capacity: Type.Optional(Type.Integer()),
  all_flash_total_capacity: Type.Optional(Type.Integer()),
  all_flash_available_capacity: Type.Optional(Type.Integer()),
  all_flash_provisioned_capacity: Type.Optional(Type.Integer()),
  l3_enabled: Type.Optional(Type.Boolean()),
  callhome_enabled: Type.Optional(Type.Boolean()),
  compression_enabled: Type.Optional(Type.Boolean()),
  compression_ratio: Type.Optional(Type.String()),
  dedup_enabled: Type.Optional(Type.Boolean()),
  dedup_ratio: Type.Optional(Type.String()),
  timezone: Type.Optional(Type.String()),
  /** Milliseconds. */
  uptime: Type.Optional(Type.Integer()),
  last_reboot_timestamp: Type.Optional(Type.String()),
  ntp_servers: Type.Optional(Type.Array(Type.Unknown())),
  dns: Type.Optional(Type.Unknown()),
  http_proxy: Type.Optional(Type.Unknown()),
  network: Type.Optional(Type.Unknown()),
  network_devices: Type.Optional(Type.Array(Type.Unknown())),
  upgrade: Type.Optional(Type.Unknown()),
  access_interface_aggr_type: Type.Optional(Type.String()),
  internal_interface_aggr_type: Type.Optional(Type.String()),
  interface_aggregation_mode: Type.Optional(Type.String()),
})
export type System = Static<typeof System>

/** What is left out stays. */
export const UpdateSystem = Type.Object({
  name: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  callhome_enabled: Type.Optional(Type.Boolean()),
  compression_enabled: Type.Optional(Type.Boolean()),
  timezone: Type.Optional(Type.String()),
  access_interface_aggr_type: Type.Optional(Type.Enum(['single', 'bonded'])),
  internal_interface_aggr_type: Type.Optional(Type.Enum(['single', 'bonded'])),
  interface_aggregation_mode: Type.Optional(
    Type.Enum([
      'balance-rr',
      'active-backup',
      'balance-xor',
      'broadcast',
      'lacp',
      'balance-tlb',
      'balance-alb',
    ]),
  ),
})
export type UpdateSystem = Static<typeof UpdateSystem>

/** Proxy for requests of the array to the outside; the password reads as hidden. */
export const HttpProxy = Type.Object({
  path: Type.Optional(Type.String()),
  enabled: Type.Boolean(),
  host: Type.String(),
  port: Type.Integer(),
  user: Type.String(),
  password: Type.String(),
})
export type HttpProxy = Static<typeof HttpProxy>

/** What is left out stays. */
export const UpdateHttpProxy = Type.Object({
  enabled: Type.Optional(Type.Boolean()),
  host: Type.Optional(Type.String()),
  port: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
  user: Type.Optional(Type.String()),
  password: Type.Optional(Type.String()),
})
export type UpdateHttpProxy = Static<typeof UpdateHttpProxy>
