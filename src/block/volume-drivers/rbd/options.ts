import { MiB } from '../../../kernel/bytes.ts'
import { boolean, integer, type OptionSet, optionalText, text } from '../../../kernel/config/options.ts'

/** The driver's section of `cinder.conf`. */
export interface RbdSettings {
  readonly clusterName: string
  readonly pool: string
  readonly user: string | undefined
  readonly configurationFile: string
  readonly secretUuid: string | undefined
  readonly flattenFromSnapshot: boolean
  readonly maxCloneDepth: number
  /** MiB of one object. */
  readonly chunkMib: number
  readonly timeoutSeconds: number
  readonly reportDynamicTotal: boolean
  readonly exclusivePool: boolean
}

export const rbdOptions: OptionSet<RbdSettings> = {
  clusterName: text('rbd_cluster_name', { default: 'ceph', help: 'Name of the Ceph cluster.' }),
  pool: text('rbd_pool', { default: 'rbd', help: 'RADOS pool in which volumes are kept.' }),
  user: optionalText('rbd_user', { help: 'Ceph client, without "client."; admin when absent.' }),
  configurationFile: text('rbd_ceph_conf', { help: 'Path of ceph.conf; empty: where Ceph looks for it.' }),
  secretUuid: optionalText('rbd_secret_uuid', {
    help: "The libvirt secret that holds the user's key; the id of the cluster when absent.",
  }),
  flattenFromSnapshot: boolean('rbd_flatten_volume_from_snapshot', {
    help: 'Copy the data of snapshots into volumes made of them, instead of sharing it.',
  }),
  maxCloneDepth: integer('rbd_max_clone_depth', {
    default: 5,
    min: 0,
    help: 'Clones of clones deeper than this are copied. 0: clones are never shared.',
  }),
  chunkMib: integer('rbd_store_chunk_size', {
    default: 4,
    min: 1,
    max: 32,
    help: 'MiB of one object; a power of two.',
  }),
  timeoutSeconds: integer('rados_connect_timeout', {
    default: -1,
    help: 'Seconds that the cluster may take to answer. Negative: 30 for monitors, 120 for data.',
  }),
  reportDynamicTotal: boolean('report_dynamic_total_capacity', {
    default: true,
    help: 'Report used plus free as the total; otherwise what the pool could hold altogether.',
  }),
  exclusivePool: boolean('rbd_exclusive_cinder_pool', {
    default: true,
    help: 'Nobody else keeps images in the pool.',
  }),
}

/** Bytes of one object: the option, as the power of two that it is or lies under. */
export function objectBytes(settings: Pick<RbdSettings, 'chunkMib'>): number {
  return 2 ** Math.floor(Math.log2(settings.chunkMib)) * MiB
}
