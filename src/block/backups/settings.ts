import type { Config } from '../../kernel/config/config.ts'
import { boolean, integer, list, optionalText, seconds } from '../../kernel/config/options.ts'

const options = {
  driver: optionalText('backup_driver', {
    help: 'Module or class of the driver, or its short name. Default: posix, in the state directory.',
  }),
  secondaryDrivers: list('backup_datera_secondary_backup_drivers', {
    help: 'Drivers beside the Datera driver: a backup named <driver>_… goes to that one.',
  }),
  workers: integer('backup_workers', {
    help: 'Backups, restores and verifications that run at once.',
    default: 4,
    min: 1,
    max: 64,
  }),
  notificationIntervalSeconds: integer('backup_timer_interval', {
    help: 'Seconds between progress notifications, where a driver has them.',
    default: 120,
    min: 1,
  }),
  objectsPerNotification: integer('backup_object_number_per_notification', {
    help: 'A progress notification is sent after so many objects.',
    default: 10,
    min: 1,
  }),
  startRetrySeconds: integer('backup_driver_init_check_interval', {
    help: 'Seconds between attempts to start a driver.',
    default: 60,
    min: 1,
  }),
  nameTemplate: optionalText('backup_name_template', { help: 'Accepted, without effect.' }),
  useSameHost: boolean('backup_use_same_host', {
    help: 'Accepted, without effect: every process on the database can do everything.',
  }),
  pollingSeconds: seconds('backup_driver_stats_polling_interval', { help: 'Accepted, without effect.' }),
  metadataVersion: integer('backup_metadata_version', { help: 'Accepted: 2 is written.', default: 2 }),
  dateraTimer: boolean('backup_datera_progress_timer', {
    help: 'Progress notifications every backup_timer_interval seconds for backups on the array.',
  }),
  directoryTimer: boolean('backup_enable_progress_timer', {
    help: 'The same for backups in directories.',
    default: true,
  }),
  swiftTimer: boolean('backup_swift_enable_progress_timer', {
    help: 'The same for backups in Swift.',
    default: true,
  }),
  s3Timer: boolean('backup_s3_enable_progress_timer', {
    help: 'The same for backups in S3.',
    default: true,
  }),
} as const

export type BackupSettings = ReturnType<typeof readBackupSettings>

export function readBackupSettings(config: Config) {
  return config.read('DEFAULT', options)
}

/** Whether a driver's backups send progress notifications by the clock too. */
export function hasTimer(settings: BackupSettings, handler: string): boolean {
  if (handler === 'datera') return settings.dateraTimer
  if (handler === 'swift') return settings.swiftTimer
  if (handler === 's3') return settings.s3Timer
  return settings.directoryTimer
}
