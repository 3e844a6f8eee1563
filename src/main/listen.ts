import { networkInterfaces } from 'node:os'
import type { Config } from '../kernel/config/config.ts'
import { optionalText, port } from '../kernel/config/options.ts'
import type { Ports } from './ports.ts'

/** Where a service of this process listens. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** What the command line says about addresses: it wins over configuration files. */
export interface AskedAddress {
  /** `--host`, if given. */
  readonly host: string | undefined
  /** Whether `--port-base` was given. */
  readonly portsAreAsked: boolean
  readonly ports: Ports
}

/** Where services listen that nobody gave an address: within this machine. */
export const loopback = '127.0.0.1'

const blockStorageOptions = {
  host: optionalText('osapi_volume_listen', { help: 'Address on which block storage listens.' }),
  port: port('osapi_volume_listen_port', {
    default: 8776,
    help: 'Port on which block storage listens.',
  }),
}

const imageOptions = {
  host: optionalText('bind_host', { help: 'Address on which the image service listens.' }),
  port: port('bind_port', { default: 9292, help: 'Port on which the image service listens.' }),
}

/** From `osapi_volume_listen` and `osapi_volume_listen_port` of `cinder.conf`, unless the command line says otherwise. */
export function blockStorageAddress(config: Config, asked: AskedAddress): ListenAddress {
  return address(config.read('DEFAULT', blockStorageOptions), asked, asked.ports.blockStorage)
}

/** From `bind_host` and `bind_port` of `glance-api.conf`, unless the command line says otherwise. */
export function imageAddress(config: Config, asked: AskedAddress): ListenAddress {
  return address(config.read('DEFAULT', imageOptions), asked, asked.ports.image)
}

function address(
  configured: { host: string | undefined; port: number },
  asked: AskedAddress,
  askedPort: number,
): ListenAddress {
  return {
    host: asked.host ?? configured.host ?? loopback,
    port: asked.portsAreAsked ? askedPort : configured.port,
  }
}

/**
 * The URL at which others reach a listener, without a path. One that listens on every address is named by the first
 * address of this machine that others can see, so that a catalog holds no `0.0.0.0`.
 */
export function urlOf({ host, port }: ListenAddress): string {
  const name = isEveryAddress(host) ? addressSeenByOthers() : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

function isEveryAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function addressSeenByOthers(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { address, family, internal } of addresses ?? []) {
      if (family === 'IPv4' && !internal) return address
    }
  }
  return loopback
}
