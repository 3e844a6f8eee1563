import {
  boolean,
  choice,
  integer,
  type OptionSet,
  optionalBoolean,
  optionalText,
  port,
  seconds,
  secret,
  text,
} from '../../../kernel/config/options.ts'
import type { Secret } from '../../../kernel/secret.ts'
import { type ChunkedSettings, chunkedOptions } from '../chunked/options.ts'

/** What `[DEFAULT]` says of backups on a Datera array. */
export interface DateraBackupSettings extends ChunkedSettings {
  readonly host: string
  readonly login: string
  readonly password: Secret | undefined
  readonly tenant: string
  readonly chunkGib: number
  readonly blockBytes: number
  readonly replicaCount: number
  readonly placementMode: 'hybrid' | 'single_flash' | 'all_flash'
  readonly apiPort: number
  readonly useSsl: boolean | undefined
  readonly certificateAuthority: string | undefined
  readonly clientCertificate: string | undefined
  readonly clientKey: string | undefined
  readonly iscsiPort: number
  readonly multipath: boolean
  readonly ldapServer: string | undefined
  readonly retryForSeconds: number
  readonly retryEverySeconds: number
  readonly mayCreate: boolean
  readonly debug: boolean
  readonly disableProfiler: boolean
}

export const dateraBackupOptions: OptionSet<DateraBackupSettings> = {
  ...chunkedOptions,
  host: text('backup_datera_san_ip', { help: 'Management address of the array. Required.' }),
  login: text('backup_datera_san_login', { help: 'User of the array. Required.' }),
  password: secret('backup_datera_san_password', { help: "The user's password. Required." }),
  tenant: text('backup_datera_tenant_id', {
    default: '/root',
    help: "Tenant that holds the backups; 'None' for no tenancy.",
  }),
  chunkGib: integer('backup_datera_chunk_size', {
    default: 1,
    min: 1,
    max: 32_768,
    help: 'GiB of the volume that takes a backup, and of the volume in one object, less 50 bytes.',
  }),
  blockBytes: integer('backup_datera_block_size', {
    default: 0,
    min: 0,
    help: 'Bytes by which changes are tracked for incremental backups; 0: a whole chunk, as older drivers do.',
  }),
  replicaCount: integer('backup_datera_replica_count', {
    default: 3,
    min: 1,
    max: 5,
    help: 'Copies of each backup.',
  }),
  placementMode: choice('backup_datera_placement_mode', ['hybrid', 'single_flash', 'all_flash'], {
    default: 'hybrid',
    help: 'Media for backups; from product 3.3 on the placement policy of that name.',
  }),
  apiPort: port('backup_datera_api_port', {
    default: 7718,
    help: 'Port of the REST API; 7717 is plain HTTP, which has to be asked for.',
  }),
  useSsl: optionalBoolean('backup_driver_use_ssl', {
    help: 'false selects plain HTTP at a port of your own. Default: TLS, unless the port is 7717.',
  }),
  certificateAuthority: optionalText('backup_datera_ssl_ca', {
    help: "File of authorities that the array's certificate is checked against. Default: it is not checked.",
  }),
  clientCertificate: optionalText('backup_driver_client_cert', {
    help: 'File with our certificate, for mutual TLS.',
  }),
  clientKey: optionalText('backup_driver_client_cert_key', {
    help: "File with our certificate's key.",
  }),
  iscsiPort: port('backup_datera_iscsi_port', {
    default: 3260,
    help: "Port at which the array's access addresses serve iSCSI.",
  }),
  multipath: boolean('backup_datera_use_multipath', { help: 'Use every portal of the array.' }),
  ldapServer: optionalText('backup_datera_ldap_server', { help: 'LDAP server that knows the user.' }),
  retryForSeconds: seconds('backup_datera_503_timeout', {
    default: 120,
    help: 'How long to retry when the array is busy (503) or the connection is lost.',
  }),
  retryEverySeconds: integer('backup_datera_503_interval', {
    default: 5,
    min: 1,
    help: 'Longest pause between such retries.',
  }),
  mayCreate: boolean('backup_create_containers', {
    help: 'Make directories and containers that are missing.',
    default: true,
  }),
  debug: boolean('backup_datera_debug', { help: 'Log every request to the array, secrets masked.' }),
  disableProfiler: boolean('backup_datera_disable_profiler', {
    help: 'Do not log how long operations take.',
  }),
}
