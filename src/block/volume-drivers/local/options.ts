import {
  boolean,
  integer,
  list,
  type OptionSet,
  optionalText,
  port,
  secret,
  text,
} from '../../../kernel/config/options.ts'
import type { Secret } from '../../../kernel/secret.ts'

/** The driver's section of `cinder.conf`. All have defaults. */
export interface LocalSettings {
  readonly directory: string | undefined
  /** 0: what the filesystem has. */
  readonly capacityGib: number
  readonly address: string
  readonly secondaryAddresses: readonly string[]
  readonly port: number
  readonly targetPrefix: string
  readonly useChap: boolean
  readonly chapUsername: string
  readonly chapPassword: Secret | undefined
}

export const localOptions: OptionSet<LocalSettings> = {
  directory: optionalText('local_data_directory', {
    help: 'Directory that holds the volumes. Default: volume-backends/<backend>/store in the state directory.',
  }),
  capacityGib: integer('local_capacity_gb', {
    default: 0,
    min: 0,
    help: 'GiB of data that the volumes take at most. 0: what the filesystem has.',
  }),
  address: text('target_ip_address', {
    default: '127.0.0.1',
    help: 'Address at which hosts reach the volumes.',
  }),
  secondaryAddresses: list('target_secondary_ip_addresses', {
    help: 'More addresses at which hosts reach the volumes, for multipath.',
  }),
  port: port('target_port', { default: 3260, help: 'Port of those addresses. 0: any free one.' }),
  targetPrefix: text('target_prefix', {
    default: 'iqn.2010-10.org.openstack:',
    help: 'What the names of targets begin with.',
  }),
  useChap: boolean('use_chap_auth', { help: 'Make hosts log in with CHAP.' }),
  chapUsername: text('chap_username', { help: 'CHAP user; one for each volume unless set.' }),
  chapPassword: secret('chap_password', {
    help: 'CHAP secret, 12 to 16 characters; one for each volume unless set.',
  }),
}
