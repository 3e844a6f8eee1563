import { MiB } from '../../../kernel/bytes.ts'
import { boolean, integer, type OptionSet, optionalText, text } from '../../../kernel/config/options.ts'

/** The store's section of `glance-api.conf`. @see image-api specification 6.3 */
export interface RbdStoreSettings {
  readonly pool: string
  readonly user: string | undefined
  readonly configurationFile: string
  /** MiB of one object. */
  readonly chunkMib: number
  readonly timeoutSeconds: number
  readonly thinProvisioning: boolean
}

export const rbdStoreOptions: OptionSet<RbdStoreSettings> = {
  pool: text('rbd_store_pool', { default: 'images', help: 'RADOS pool in which images are kept.' }),
  user: optionalText('rbd_store_user', { help: 'Ceph client, without "client."; admin when absent.' }),
  configurationFile: text('rbd_store_ceph_conf', {
    help: 'Path of ceph.conf; empty: where Ceph looks for it.',
  }),
  chunkMib: integer('rbd_store_chunk_size', {
    default: 8,
    min: 1,
    max: 32,
    help: 'MiB of one object; a power of two.',
  }),
  timeoutSeconds: integer('rados_connect_timeout', {
    default: -1,
    help: 'Seconds that the cluster may take to answer. Negative: 30 for monitors, 120 for data.',
  }),
  thinProvisioning: boolean('rbd_thin_provisioning', { help: 'Leave stretches of zeroes out.' }),
}

/** Bytes of one object: the option, as the power of two that it is or lies under. */
export function objectBytes(settings: Pick<RbdStoreSettings, 'chunkMib'>): number {
  return 2 ** Math.floor(Math.log2(settings.chunkMib)) * MiB
}
