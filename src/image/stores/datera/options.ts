import {
  boolean,
  choice,
  integer,
  type Option,
  type OptionSet,
  optionalText,
  port,
  requiredText,
  seconds,
  secret,
  text,
} from '../../../kernel/config/options.ts'
import type { Secret } from '../../../kernel/secret.ts'

/** The store's section of `glance-api.conf`. */
export interface DateraStoreSettings {
  readonly host: string
  readonly login: string
  readonly password: Secret | undefined
  readonly apiPort: number
  readonly useSsl: boolean | undefined
  readonly iscsiPort: number
  readonly tenant: string | undefined
  readonly ldapServer: string | undefined
  readonly verifyCertificate: boolean
  readonly certificateAuthority: string | undefined
  readonly replicaCount: number
  readonly placementMode: 'hybrid' | 'single_flash' | 'all_flash'
  readonly placementPolicy: string | undefined
  readonly growthBytes: number
  readonly initialGib: number
  readonly retryAttempts: number
  readonly retryIntervalSeconds: number
  readonly operationLimitSeconds: number
  readonly retryForSeconds: number
  readonly retryEverySeconds: number
  readonly chapUsername: string
  readonly chapPassword: Secret | undefined
  readonly multipath: boolean
  readonly rootwrapPath: string
  readonly rootwrapConfig: string
}

const useSsl: Option<boolean | undefined> = {
  ...boolean('datera_use_ssl', { help: 'Default: TLS, unless the port is 7717.' }),
  default: undefined,
}

export const dateraStoreOptions: OptionSet<DateraStoreSettings> = {
  host: requiredText('datera_san_ip', { help: 'Management address of the array.' }),
  login: requiredText('datera_san_login', { help: 'User of the array.' }),
  password: secret('datera_san_password', { help: "The user's password." }),
  apiPort: port('datera_san_port', { default: 7718, help: 'Port of the REST API; 7717 is plain HTTP.' }),
  useSsl,
  iscsiPort: port('datera_iscsi_port', {
    default: 3260,
    help: "Port at which the array's access addresses serve iSCSI.",
  }),
  tenant: optionalText('datera_tenant_id', {
    help: "Tenant that holds the images; 'None' for no tenancy. Default: /root.",
  }),
  ldapServer: optionalText('datera_ldap_server', { help: 'LDAP server that knows the user.' }),
  verifyCertificate: boolean('datera_ssl_verify', { help: "Check the array's certificate." }),
  certificateAuthority: optionalText('datera_ssl_ca', { help: 'File of certificate authorities to trust.' }),
  replicaCount: integer('datera_replica_count', {
    default: 3,
    min: 1,
    max: 5,
    help: 'Copies of each image.',
  }),
  placementMode: choice('datera_placement_mode', ['hybrid', 'single_flash', 'all_flash'], {
    default: 'hybrid',
    help: 'Media for images, on products before 3.3.',
  }),
  placementPolicy: optionalText('datera_placement_policy', {
    help: 'Placement policy for images, on product 3.3 and later. Default: the one named like the placement mode.',
  }),
  growthBytes: integer('datera_chunk_size', {
    default: 1024 * 1024 * 1024,
    min: 1,
    help: 'Least growth, in bytes, of a volume that takes an image of unknown size; rounded up to whole GiB.',
  }),
  initialGib: integer('datera_default_image_size', {
    default: 1,
    min: 1,
    max: 32_768,
    help: 'GiB that an image of unknown size gets at first.',
  }),
  retryAttempts: integer('datera_retry_attempts', {
    default: 30,
    min: 1,
    help: 'Looks at a volume that grows, before giving up.',
  }),
  retryIntervalSeconds: integer('datera_retry_interval', {
    default: 2,
    min: 0,
    help: 'Seconds between them.',
  }),
  operationLimitSeconds: seconds('datera_operation_max_timeout', {
    default: 600,
    help: 'Longest time that a volume may take to grow.',
  }),
  retryForSeconds: seconds('datera_503_timeout', {
    default: 120,
    help: 'How long to retry when the array is busy (503) or the connection is lost.',
  }),
  retryEverySeconds: {
    ...integer('datera_503_interval', { default: 5, min: 1, help: 'Longest pause between such retries.' }),
    kind: 'seconds',
  },
  chapUsername: text('datera_chap_username', {
    help: 'CHAP user with which images are reached. Default: no CHAP.',
  }),
  chapPassword: secret('datera_chap_password', { help: 'CHAP secret, 12 to 16 characters.' }),
  multipath: boolean('datera_use_multipath', { help: 'Use every portal of the array.' }),
  rootwrapPath: text('datera_glance_rootwrap_path', {
    default: 'sudo glance-rootwrap',
    help: 'Accepted, without effect: nothing here needs root.',
  }),
  rootwrapConfig: text('datera_glance_rootwrap_config', {
    default: '/etc/glance/rootwrap.conf',
    help: 'Accepted, without effect.',
  }),
}
