import { join } from 'node:path'
import type { Ports } from './ports.ts'
import type { StateDirectory } from './state-directory.ts'

/** What configuration files would say, by section and option; the weakest source of all. */
export type SectionDefaults = Readonly<Record<string, Readonly<Record<string, string>>>>

export interface ConfigDefaults {
  readonly cinder: SectionDefaults
  readonly glance: SectionDefaults
}

const dateraDriver = 'cinder.volume.drivers.datera.datera_iscsi.DateraDriver'

/**
 * The configuration of an instance that was given none: volumes on the embedded array, images in files with the
 * array as a second store. A file, once there, is taken as it is: nothing of the embedded array leaks into it.
 */
export function defaultConfiguration(options: {
  state: StateDirectory
  host: string
  ports: Ports
  hasCinderConf: boolean
  hasGlanceConf: boolean
  edfNode: boolean
}): ConfigDefaults {
  const { state, host, ports } = options
  const password = state.secrets.edfPassword.reveal()
  const certificate = join(state.path, 'edf', 'tls.crt') // self-signed, and so its own authority
  const arrayBackend = {
    DEFAULT: {
      enabled_backends: 'datera',
      default_volume_type: 'datera',
      backup_driver: 'cinder.backup.drivers.datera',
      backup_datera_san_ip: host,
      backup_datera_san_login: 'admin',
      backup_datera_san_password: password,
      backup_datera_api_port: String(ports.edfHttps),
      backup_driver_use_ssl: 'true',
      backup_datera_ssl_ca: certificate,
      backup_datera_iscsi_port: String(ports.iscsi),
      backup_datera_replica_count: '1',
      backup_datera_block_size: '65536',
      backup_datera_secondary_backup_drivers: 'cinder.backup.drivers.posix',
    },
    datera: {
      volume_driver: dateraDriver,
      volume_backend_name: 'datera',
      san_ip: host,
      san_login: 'admin',
      san_password: password,
      san_api_port: String(ports.edfHttps),
      driver_ssl_cert_verify: 'true',
      driver_ssl_cert_path: certificate,
    },
  }
  const files = { filesystem_store_datadir: join(state.path, 'images') }
  const reserved = {
    os_glance_staging_store: { filesystem_store_datadir: join(state.path, 'staging') },
    os_glance_tasks_store: { filesystem_store_datadir: join(state.path, 'tasks') },
  }
  const arrayStore = {
    datera_san_ip: host,
    datera_san_login: 'admin',
    datera_san_password: password,
    datera_san_port: String(ports.edfHttps),
    datera_ssl_verify: 'true',
    datera_ssl_ca: certificate,
    datera_replica_count: '1',
  }
  return {
    cinder: options.hasCinderConf ? {} : options.edfNode ? arrayBackend : {},
    glance: options.hasGlanceConf
      ? reserved
      : options.edfNode
        ? {
            DEFAULT: { enabled_backends: 'file:file,datera:datera' },
            glance_store: { default_backend: 'file' },
            file: files,
            datera: arrayStore,
            ...reserved,
          }
        : {
            DEFAULT: { enabled_backends: 'file:file' },
            glance_store: { default_backend: 'file' },
            file: files,
            ...reserved,
          },
  }
}
