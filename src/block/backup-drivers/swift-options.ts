import { MiB } from '../../kernel/bytes.ts'
import {
  boolean,
  choice,
  integer,
  type OptionSet,
  optionalText,
  seconds,
  secret,
  text,
} from '../../kernel/config/options.ts'
import type { Secret } from '../../kernel/secret.ts'
import { type ChunkedSettings, chunkedOptions } from './chunked/options.ts'

/** What `[DEFAULT]` says of backups in Swift. */
export interface SwiftBackupSettings extends ChunkedSettings {
  readonly auth: 'single_user' | 'per_user'
  readonly authVersion: '1' | '3'
  readonly authUrl: string
  readonly user: string
  readonly key: Secret | undefined
  readonly project: string | undefined
  readonly tenant: string | undefined
  readonly userDomain: string | undefined
  readonly projectDomain: string | undefined
  readonly catalogInfo: string
  readonly region: string | undefined
  readonly insecure: boolean
  readonly caFile: string | undefined
  readonly retryAttempts: number
  readonly retryBackoffSeconds: number
  readonly container: string
  readonly objectBytes: number
  readonly blockBytes: number
}

export const swiftBackupOptions: OptionSet<SwiftBackupSettings> = {
  ...chunkedOptions,
  auth: choice('backup_swift_auth', ['single_user', 'per_user'], {
    default: 'single_user',
    help: 'Whose account keeps backups: that of backup_swift_user. per_user is refused.',
  }),
  authVersion: choice('backup_swift_auth_version', ['1', '3'], {
    default: '1',
    help: "1: Swift's own login. 3: Keystone.",
  }),
  authUrl: text('backup_swift_auth_url', {
    help: "Where to log in: http://host:port/auth/v1.0, or Keystone's URL.",
  }),
  user: text('backup_swift_user', { help: 'account:user; with Keystone the name of the user.' }),
  key: secret('backup_swift_key', { help: "The user's key or password." }),
  project: optionalText('backup_swift_project', { help: "With Keystone: the project's name." }),
  tenant: optionalText('backup_swift_tenant', { help: 'The same, under an older name.' }),
  userDomain: optionalText('backup_swift_user_domain', {
    help: "With Keystone: name of the user's domain. Default: the domain with the id default.",
  }),
  projectDomain: optionalText('backup_swift_project_domain', {
    help: "With Keystone: name of the project's domain. Default: the domain with the id default.",
  }),
  catalogInfo: text('swift_catalog_info', {
    default: 'object-store:swift:publicURL',
    help: 'Where in the catalog Swift is: <service type>:<service name>:<interface>.',
  }),
  region: optionalText('backup_swift_region', { help: 'The region in the catalog. Default: the first.' }),
  insecure: boolean('backup_swift_auth_insecure', { help: 'Accept any certificate.' }),
  caFile: optionalText('backup_swift_ca_cert_file', { help: 'Authorities that sign the certificates.' }),
  retryAttempts: integer('backup_swift_retry_attempts', {
    default: 3,
    min: 0,
    help: 'How often a request to Swift that failed is repeated.',
  }),
  retryBackoffSeconds: seconds('backup_swift_retry_backoff', {
    default: 2,
    help: 'Pause before an object is written a second time; it doubles with each.',
  }),
  container: text('backup_swift_container', {
    default: 'volumebackups',
    help: 'Container of backups that ask for none.',
  }),
  objectBytes: integer('backup_swift_object_size', {
    default: 50 * MiB,
    min: 512,
    help: 'Most bytes of a volume in one object; a multiple of backup_swift_block_size.',
  }),
  blockBytes: integer('backup_swift_block_size', {
    default: 32_768,
    min: 512,
    help: 'Bytes by which changes are tracked for incremental backups.',
  }),
}
