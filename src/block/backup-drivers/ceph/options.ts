import { MiB } from '../../../kernel/bytes.ts'
import { boolean, integer, type OptionSet, text } from '../../../kernel/config/options.ts'
import { chunkedOptions } from '../chunked/options.ts'

/** What `[DEFAULT]` says of backups in Ceph. */
export interface CephBackupSettings {
  readonly configurationFile: string
  readonly user: string
  readonly pool: string
  readonly chunkBytes: number
  readonly stripeUnitBytes: number
  readonly stripeCount: number
  readonly imageJournals: boolean
  readonly maxSnapshots: number
  readonly discardExcessBytes: boolean
  readonly encryptionKeyFile: string | undefined
}

export const cephBackupOptions: OptionSet<CephBackupSettings> = {
  configurationFile: text('backup_ceph_conf', {
    default: '/etc/ceph/ceph.conf',
    help: 'Path of ceph.conf.',
  }),
  user: text('backup_ceph_user', { default: 'cinder', help: 'Ceph client, without "client.".' }),
  pool: text('backup_ceph_pool', {
    default: 'backups',
    help: 'RADOS pool of backups that ask for no container.',
  }),
  chunkBytes: integer('backup_ceph_chunk_size', {
    default: 128 * MiB,
    min: 1,
    help: 'Accepted, without effect: 4 MiB are moved at a time, several beside each other.',
  }),
  stripeUnitBytes: integer('backup_ceph_stripe_unit', {
    default: 0,
    min: 0,
    help: 'Bytes of a stripe of a backup image. 0: as Ceph likes.',
  }),
  stripeCount: integer('backup_ceph_stripe_count', {
    default: 0,
    min: 0,
    help: 'Objects that stripes are spread over. 0: as Ceph likes.',
  }),
  imageJournals: boolean('backup_ceph_image_journals', {
    help: 'Keep a journal of backup images, so that they can be mirrored.',
  }),
  maxSnapshots: integer('backup_ceph_max_snapshots', {
    default: 0,
    min: 0,
    help: 'Accepted, without effect: a volume keeps one snapshot, that of its newest backup.',
  }),
  discardExcessBytes: boolean('restore_discard_excess_bytes', {
    default: true,
    help: 'Zero what a larger volume has behind the bytes that were restored.',
  }),
  encryptionKeyFile: chunkedOptions.encryptionKeyFile,
}
