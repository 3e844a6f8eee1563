import { type Static, Type } from 'typebox'
import { Name } from './common.ts'

/** A block of addresses on one logical network. `netmask` is the length of the prefix. */
export const NetworkPath = Type.Object({
  path: Type.Optional(Type.String()),
  name: Type.String(),
  start_ip: Type.Optional(Type.String()),
  /** Number of addresses. */
  range: Type.Optional(Type.Integer()),
  netmask: Type.Optional(Type.Integer()),
  vlan: Type.Optional(Type.Integer()),
  mtu: Type.Optional(Type.Integer()),
  gateway: Type.Optional(Type.String()),
})
export type NetworkPath = Static<typeof NetworkPath>

/** Where storage instances take their addresses from; one named `default` always exists. */
export const AccessNetworkIpPool = Type.Object({
  path: Type.String(),
  tenant: Type.Optional(Type.String()),
  name: Type.String(),
  descr: Type.Optional(Type.String()),
  network_paths: Type.Array(NetworkPath),
})
export type AccessNetworkIpPool = Static<typeof AccessNetworkIpPool>

/** As `NetworkPath`, as it is written. */
export const NetworkPathInput = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 64 }),
  start_ip: Type.Optional(Type.String({ pattern: '^(\\d{1,3}(\\.\\d{1,3}){3})?$' })),
  range: Type.Optional(Type.Integer({ minimum: 1, maximum: 254 })),
  netmask: Type.Optional(Type.Integer({ minimum: 0, maximum: 32 })),
  vlan: Type.Optional(Type.Integer({ minimum: 0, maximum: 4094 })),
  mtu: Type.Optional(Type.Integer({ minimum: 576, maximum: 9198 })),
  gateway: Type.Optional(Type.String()),
})
export type NetworkPathInput = Static<typeof NetworkPathInput>

/** What is left out stays; the name cannot be changed. */
export const UpdateNetworkPath = Type.Partial(NetworkPathInput)

/** `POST /access_network_ip_pools`. */
export const CreateAccessNetworkIpPool = Type.Object({
  name: Name,
  descr: Type.Optional(Type.String()),
  network_paths: Type.Optional(Type.Array(NetworkPathInput)),
})
export type CreateAccessNetworkIpPool = Static<typeof CreateAccessNetworkIpPool>

/** `network_paths` replaces the stored ones. */
export const UpdateAccessNetworkIpPool = Type.Object({
  descr: Type.Optional(Type.String()),
  network_paths: Type.Optional(Type.Array(NetworkPathInput)),
})
export type UpdateAccessNetworkIpPool = Static<typeof UpdateAccessNetworkIpPool>
