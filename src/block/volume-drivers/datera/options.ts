import {
  boolean,
  dictionary,
  integer,
  type OptionSet,
  optionalBoolean,
  optionalText,
  port,
  requiredText,
  seconds,
  secret,
  text,
} from '../../../kernel/config/options.ts'
import type { Secret } from '../../../kernel/secret.ts'

/** The driver's section of `cinder.conf`. */
export interface DateraSettings {
  readonly host: string
  readonly login: string
  readonly password: Secret | undefined
  /** 0: 7718 with TLS, 7717 without. */
  readonly apiPort: number
  readonly oldApiPort: string
  readonly apiVersion: string
  readonly iscsiPort: number
  readonly ldapServer: string | undefined
  readonly retryForSeconds: number
  readonly retryEverySeconds: number
  readonly connectTimeoutSeconds: number
  readonly answerTimeoutSeconds: number
  readonly concurrency: number
  readonly debug: boolean
  readonly singleReplica: boolean
  readonly tenant: string | undefined
  readonly disableProfiler: boolean
  readonly disableMetadata: boolean
  readonly disableTemplateOverride: boolean
  readonly typeDefaults: Readonly<Record<string, string>>
  readonly useSsl: boolean | undefined
  readonly verifyCertificate: boolean
  readonly certificateAuthority: string | undefined
  readonly clientCertificate: string | undefined
  readonly clientKey: string | undefined
  readonly useChap: boolean
  readonly chapUsername: string
  readonly chapPassword: Secret | undefined
  readonly reservedPercentage: number
  readonly maxOverSubscriptionRatio: string
  readonly imageCache: boolean
  readonly imageCacheTypeId: string | undefined
  /** 0: as much as there is. */
  readonly imageCacheGib: number
  /** 0: as many as there are. */
  readonly imageCacheCount: number
  readonly reportDiscard: boolean | undefined
  readonly multipath: boolean
  readonly enforceMultipath: boolean
  readonly legacyReplicas: number
  readonly legacyAllowAll: boolean
  readonly legacyToken: Secret | undefined
  readonly isLocal: boolean
  readonly privateKey: string
  readonly clusterName: string
  readonly thinProvision: boolean
  readonly scanTries: number
  readonly unsupportedDriver: boolean
}

export const dateraOptions: OptionSet<DateraSettings> = {
  host: requiredText('san_ip', { help: 'Management address of the array.' }),
  login: text('san_login', { default: 'admin', help: 'User of the array.' }),
  password: secret('san_password', { help: "The user's password." }),
  apiPort: port('san_api_port', {
    default: 0,
    help: 'Port of the REST API. Default: 7718 with TLS, 7717 without.',
  }),
  oldApiPort: text('datera_api_port', {
    default: '7717',
    help: 'Deprecated, use san_api_port. Its default never selects plain HTTP.',
  }),
  apiVersion: text('datera_api_version', {
    help: 'Deprecated. 2.1 or 2.2 pins the API version; otherwise the newest one is found out.',
  }),
  iscsiPort: port('datera_iscsi_port', {
    default: 3260,
    help: "Port at which the array's access addresses serve iSCSI.",
  }),
  ldapServer: optionalText('datera_ldap_server', { help: 'LDAP server that knows the user.' }),
  retryForSeconds: seconds('datera_503_timeout', {
    default: 120,
    help: 'How long to retry when the array is busy (503) or the connection is lost.',
  }),
  retryEverySeconds: {
    ...integer('datera_503_interval', { default: 5, min: 1, help: 'Longest pause between such retries.' }),
    kind: 'seconds',
  },
  connectTimeoutSeconds: seconds('datera_connect_timeout', {
    default: 10,
    help: 'How long a connection to the array may take to be made.',
  }),
  answerTimeoutSeconds: seconds('datera_response_timeout', {
    default: 300,
    help: 'Longest silence of the array during a request.',
  }),
  concurrency: integer('datera_max_requests', {
    default: 32,
    min: 1,
    max: 1024,
    help: 'Requests to the array under way at once.',
  }),
  debug: boolean('datera_debug', { help: 'Log every request to the array, secrets masked.' }),
  singleReplica: boolean('datera_debug_replica_count_override', {
    help: 'Lower the default of replica_count to 1. A volume type or datera_volume_type_defaults still wins.',
  }),
  tenant: optionalText('datera_tenant_id', {
    help: "Tenant that holds the volumes: a path, 'Map' for one per project, 'None' for no tenancy. Default: /root.",
  }),
  disableProfiler: boolean('datera_disable_profiler', { help: 'Do not log how long operations take.' }),
  disableMetadata: boolean('datera_disable_extended_metadata', {
    help: 'Do not write names and hosts into the metadata of app instances.',
  }),
  disableTemplateOverride: boolean('datera_disable_template_override', {
    help: 'Volumes made from a template always have its size.',
  }),
  typeDefaults: dictionary('datera_volume_type_defaults', {
    help: 'Defaults of the DF: settings of volume types, without the prefix: replica_count:2,total_iops_max:500.',
  }),
  useSsl: optionalBoolean('driver_use_ssl', {
    help: 'false selects plain HTTP. Default: TLS, unless the port is 7717.',
  }),
  verifyCertificate: boolean('driver_ssl_cert_verify', { help: "Check the array's certificate." }),
  certificateAuthority: optionalText('driver_ssl_cert_path', {
    help: 'File of certificate authorities to trust.',
  }),
  clientCertificate: optionalText('driver_client_cert', {
    help: 'File with our certificate, for mutual TLS.',
  }),
  clientKey: optionalText('driver_client_cert_key', { help: "File with our certificate's key." }),
  useChap: boolean('use_chap_auth', { help: 'Make hosts log in with CHAP.' }),
  chapUsername: text('chap_username', { help: 'CHAP user, 3 to 64 characters.' }),
  chapPassword: secret('chap_password', { help: 'CHAP secret, 12 to 16 characters.' }),
  reservedPercentage: integer('reserved_percentage', {
    default: 0,
    min: 0,
    max: 100,
    help: 'Share of the capacity that the scheduler leaves alone.',
  }),
  maxOverSubscriptionRatio: text('max_over_subscription_ratio', {
    default: '20.0',
    help: 'How far the capacity may be promised beyond what there is.',
  }),
  imageCache: boolean('datera_enable_image_cache', {
    help: 'Keep a copy of each raw image on the array, and clone volumes from it.',
  }),
  imageCacheTypeId: optionalText('datera_image_cache_volume_type_id', {
    help: 'Volume type of such copies; the driver-wide defaults unless set.',
  }),
  imageCacheGib: integer('image_volume_cache_max_size_gb', {
    default: 0,
    min: 0,
    help: 'GiB that copies of images may take, 0 for no limit: the least recently used ones make room.',
  }),
  imageCacheCount: integer('image_volume_cache_max_count', {
    default: 0,
    min: 0,
    help: 'Number of such copies, 0 for no limit.',
  }),
  reportDiscard: optionalBoolean('report_discard_supported', {
    help: 'Tell hosts whether to use discard. Default: say nothing.',
  }),
  multipath: boolean('use_multipath_for_image_xfer', { help: 'Use every portal when images are copied.' }),
  enforceMultipath: boolean('enforce_multipath_for_image_xfer', {
    help: 'Fail when images cannot be copied over several portals.',
  }),
  legacyReplicas: integer('datera_num_replicas', {
    default: 0,
    min: 0,
    max: 5,
    help: 'Removed; taken as datera_volume_type_defaults = replica_count:N.',
  }),
  legacyAllowAll: boolean('datera_acl_allow_all', {
    help: 'Removed, without effect: nobody is let in unasked.',
  }),
  legacyToken: secret('datera_api_token', { help: 'Removed: use san_login and san_password.' }),
  isLocal: boolean('san_is_local', { help: 'Accepted; only the password check at start depends on it.' }),
  privateKey: text('san_private_key', { help: 'Accepted, without effect.' }),
  clusterName: text('san_clustername', { help: 'Accepted, without effect.' }),
  thinProvision: boolean('san_thin_provision', { default: true, help: 'Accepted, without effect.' }),
  scanTries: integer('num_volume_device_scan_tries', { default: 3, help: 'Accepted, without effect.' }),
  unsupportedDriver: boolean('enable_unsupported_driver', { help: 'Accepted, without effect.' }),
}
