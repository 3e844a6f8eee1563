import { Type } from 'typebox'

/** `PUT /upgrade`. */
export const StartUpgrade = Type.Object({ build_id: Type.String() })

/** `PUT /system/snmp_policy`. What is left out stays. */
export const SnmpPolicy = Type.Object({
  location: Type.Optional(Type.String()),
  contact: Type.Optional(Type.String()),
  enabled: Type.Optional(Type.Boolean()),
})

/** A user of SNMP; passwords read as hidden. */
export const SnmpUser = Type.Object({
  user_id: Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
  version: Type.Optional(Type.Enum(['v1', 'v2c', 'v3'])),
  view: Type.Optional(Type.Enum(['all', 'host_resources'])),
  auth_pass: Type.Optional(Type.String()),
  encr_pass: Type.Optional(Type.String()),
  auth_protocol: Type.Optional(Type.Enum(['MD5', 'SHA'])),
  encr_protocol: Type.Optional(Type.Enum(['AES', 'DES'])),
  security_level: Type.Optional(Type.Enum(['none', 'auth_only', 'auth_encr'])),
})

/** Where alerts are sent. */
export const MonitoringDestination = Type.Object({
  type: Type.Optional(Type.Enum(['syslog', 'http_post', 'tcp_socket'])),
  host: Type.Optional(Type.String()),
  port: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
  facility: Type.Optional(Type.String({ pattern: '^Local[0-7]$' })),
})

/** Whether alerts are sent. */
export const MonitoringPolicy = Type.Object({
  enabled: Type.Optional(Type.Boolean()),
  destinations: Type.Optional(Type.Array(Type.String())),
})
