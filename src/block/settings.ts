import type { Config } from '../kernel/config/config.ts'
import {
  boolean,
  float,
  integer,
  list,
  optionalText,
  seconds,
  secret,
  text,
} from '../kernel/config/options.ts'
import { Misconfigured } from '../kernel/errors.ts'
import { proxyOptions } from '../kernel/http/request-base.ts'
import { type ResourceFilters, readResourceFilters } from './resource-filters.ts'
import { defaultRules, type SchedulerRules, unknownNames } from './scheduler/schedule.ts'

const options = {
  host: text('host', { help: 'First part of every host@backend; the name of this machine unless set.' }),
  enabledBackends: list('enabled_backends', { help: 'Names of the sections that configure backends.' }),
  defaultVolumeType: text('default_volume_type', {
    help: 'Type of volumes that are created without one.',
    default: '__DEFAULT__',
  }),
  defaultGroupType: optionalText('default_group_type', {
    help: 'What GET group_types/default answers.',
  }),
  storageAvailabilityZone: text('storage_availability_zone', {
    help: 'Availability zone of this node.',
    default: 'nova',
  }),
  defaultAvailabilityZone: optionalText('default_availability_zone', {
    help: 'Availability zone of volumes that ask for none; storage_availability_zone unless set.',
  }),
  allowAvailabilityZoneFallback: boolean('allow_availability_zone_fallback', {
    help: 'Use the default zone when the one asked for does not exist.',
  }),
  clonedVolumeSameAz: boolean('cloned_volume_same_az', {
    help: 'A clone must be in the zone of its source.',
    default: true,
  }),
  osapiMaxLimit: integer('osapi_max_limit', { help: 'Most items on a page.', default: 1000, min: 1 }),
  publicEndpoint: optionalText('public_endpoint', { help: 'Prefix of links in answers.' }),
  resourceFiltersFile: optionalText('resource_query_filters_file', {
    help: "JSON file of what users may filter lists by; upstream's default filters unless set.",
  }),
  messageTtlSeconds: seconds('message_ttl', { help: 'How long user messages are kept.', default: 2_592_000 }),
  serviceDownSeconds: seconds('service_down_time', {
    help: 'Age of the last heartbeat after which a service is down.',
    default: 60,
  }),
  reportIntervalSeconds: integer('report_interval', {
    help: 'Seconds between heartbeats.',
    default: 10,
    min: 1,
  }),
  schedulerMaxAttempts: integer('scheduler_max_attempts', {
    help: 'Backends that are tried for a volume before it fails.',
    default: 3,
    min: 1,
  }),
  schedulerDefaultFilters: list('scheduler_default_filters', {
    help: 'What decides where a volume can be.',
    default: defaultRules.filters,
  }),
  schedulerDefaultWeighers: list('scheduler_default_weighers', {
    help: 'What decides where a volume is best.',
    default: defaultRules.weighers,
  }),
  capacityWeightMultiplier: float('capacity_weight_multiplier', {
    help: 'Weight of free capacity; below 0 the fullest backend is best.',
    default: 1,
  }),
  allocatedCapacityWeightMultiplier: float('allocated_capacity_weight_multiplier', {
    help: 'Weight of allocated capacity; below 0 the emptiest backend is best.',
    default: -1,
  }),
  volumeNumberMultiplier: float('volume_number_multiplier', {
    help: 'Weight of the number of volumes; below 0 the fewest are best.',
    default: -1,
  }),
  goodnessWeightMultiplier: float('goodness_weight_multiplier', {
    help: 'Weight of goodness functions.',
    default: 1,
  }),
  volumeNameTemplate: text('volume_name_template', {
    help: 'Names of volumes on backends.',
    default: 'volume-%s',
  }),
  snapshotNameTemplate: text('snapshot_name_template', {
    help: 'Names of snapshots on backends.',
    default: 'snapshot-%s',
  }),
  volumeTransferSaltLength: integer('volume_transfer_salt_length', {
    help: "Characters of the salt with which a transfer's key is hashed.",
    default: 8,
    min: 1,
  }),
  volumeTransferKeyLength: integer('volume_transfer_key_length', {
    help: "Characters of a transfer's key.",
    default: 16,
    min: 8,
  }),
  internalProjectId: optionalText('cinder_internal_tenant_project_id', {
    help: 'Project that owns the volumes of the image-volume cache.',
  }),
  internalUserId: optionalText('cinder_internal_tenant_user_id', {
    help: 'User that owns the volumes of the image-volume cache.',
  }),
  enableForceUpload: boolean('enable_force_upload', {
    help: 'Volumes that are in use may be uploaded as images, when the request forces it.',
  }),
  glanceCoreProperties: list('glance_core_properties', {
    help: "Properties of a volume's image that an image made of the volume does not inherit.",
    default: [
      'checksum',
      'container_format',
      'disk_format',
      'image_name',
      'image_id',
      'min_disk',
      'min_ram',
      'name',
      'size',
    ],
  }),
  imageConversionDir: optionalText('image_conversion_dir', {
    help: 'Where volumes lie while they are converted; a directory of the state directory unless set.',
  }),
  imageConversionDisable: boolean('image_conversion_disable', {
    help: 'Volumes are uploaded as raw images only.',
  }),
  noSnapshotGbQuota: boolean('no_snapshot_gb_quota', { help: 'Snapshots do not count as gigabytes.' }),
  useDefaultQuotaClass: boolean('use_default_quota_class', {
    help: 'The quota class "default" overrides the limits of this file.',
    default: true,
  }),
  quotaVolumes: integer('quota_volumes', { help: 'Volumes of a project.', default: 10, min: -1 }),
  quotaSnapshots: integer('quota_snapshots', { help: 'Snapshots of a project.', default: 10, min: -1 }),
  quotaGigabytes: integer('quota_gigabytes', {
    help: 'GiB of the volumes and snapshots of a project.',
    default: 1000,
    min: -1,
  }),
  quotaBackups: integer('quota_backups', { help: 'Backups of a project.', default: 10, min: -1 }),
  quotaBackupGigabytes: integer('quota_backup_gigabytes', {
    help: 'GiB of the backups of a project.',
    default: 1000,
    min: -1,
  }),
  quotaGroups: integer('quota_groups', { help: 'Groups of a project.', default: 10, min: -1 }),
  perVolumeSizeLimit: integer('per_volume_size_limit', {
    help: 'GiB of the largest volume.',
    default: -1,
    min: -1,
  }),
  maxOverSubscriptionRatio: text('max_over_subscription_ratio', {
    help: 'How much more thin pools may promise than they have.',
    default: '20.0',
  }),
  reservedPercentage: integer('reserved_percentage', {
    help: 'Share of a pool that is kept free.',
    default: 0,
    min: 0,
    max: 100,
  }),
} as const

const authtokenOptions = {
  wwwAuthenticateUri: text('www_authenticate_uri', {
    help: 'What a 401 names as the place to get a token.',
    deprecatedNames: ['auth_uri'],
  }),
} as const

const middlewareOptions = {
  maxRequestBodyBytes: integer('max_request_body_size', {
    help: 'Bytes of the largest request body.',
    default: 114_688,
    min: 1,
    deprecatedNames: ['DEFAULT/osapi_max_request_body_size'],
  }),
  ...proxyOptions,
} as const

const healthcheckOptions = {
  disableByFilePath: optionalText('disable_by_file_path', {
    help: 'While this file exists, /healthcheck answers 503.',
  }),
} as const

const corsOptions = {
  allowedOrigin: list('allowed_origin', {
    help: 'Origins whose pages may use the API from a browser; * is all. None without.',
  }),
  allowCredentials: boolean('allow_credentials', { help: 'Browsers may send cookies.', default: true }),
  exposeHeaders: list('expose_headers', {
    help: 'Headers of answers that pages may read.',
    default: ['X-OpenStack-Request-ID', 'OpenStack-API-Version'],
  }),
  maxAgeSeconds: seconds('max_age', { help: 'How long browsers remember a preflight.', default: 3600 }),
  allowMethods: list('allow_methods', {
    help: 'Methods that pages may use.',
    default: ['GET', 'PUT', 'POST', 'DELETE', 'PATCH', 'HEAD'],
  }),
  allowHeaders: list('allow_headers', {
    help: 'Headers that pages may send.',
    default: [
      'Content-Type',
      'X-Auth-Token',
      'X-Identity-Status',
      'X-Roles',
      'X-Service-Catalog',
      'X-User-Id',
      'X-Tenant-Id',
      'X-OpenStack-Request-ID',
      'X-Trace-Info',
      'X-Trace-HMAC',
      'OpenStack-API-Version',
    ],
  }),
} as const

/** The `[cors]` section. */
export type CorsSettings = ReturnType<typeof readCors>

function readCors(config: Config) {
  return config.read('cors', corsOptions)
}

const keyManagerOptions = {
  backend: text('backend', {
    help: "Where keys of encrypted volumes come from: castellan's ConfKeyManager, by its class or as conf.",
  }),
  fixedKey: secret('fixed_key', {
    help: 'The one key of the ConfKeyManager, in hexadecimal; compute services are given the same.',
  }),
}

/** @throws Misconfigured for a ConfKeyManager without a key */
function readFixedKey(config: Config): boolean {
  const { backend, fixedKey } = config.read('key_manager', keyManagerOptions)
  if (backend !== 'conf' && !backend.endsWith('ConfKeyManager')) return false
  if (fixedKey !== undefined) return true
  throw new Misconfigured('[key_manager] fixed_key: the ConfKeyManager needs a key.', {
    details: { option: 'fixed_key' },
  })
}

/** What `cinder.conf` says outside the sections of backends. */
export interface BlockSettings extends ReturnType<typeof readDefaults> {
  readonly wwwAuthenticateUri: string
  readonly scheduler: SchedulerRules
  readonly maxRequestBodyBytes: number
  readonly parsesProxyHeaders: boolean
  /** What those who are not admins may filter by, by resource; undefined where no file says so. */
  readonly resourceFilters: ResourceFilters | undefined
  readonly disableByFilePath: string | undefined
  readonly cors: CorsSettings
  /** Whether castellan's ConfKeyManager, and its key, are configured. */
  readonly hasFixedKey: boolean
}

function readDefaults(config: Config) {
  return config.read('DEFAULT', options)
}

export function readBlockSettings(config: Config): BlockSettings {
  const defaults = readDefaults(config)
  return {
    ...defaults,
    ...config.read('keystone_authtoken', authtokenOptions),
    ...config.read('oslo_middleware', middlewareOptions),
    ...config.read('healthcheck', healthcheckOptions),
    resourceFilters: readResourceFilters(defaults.resourceFiltersFile),
    cors: readCors(config),
    hasFixedKey: readFixedKey(config),
    scheduler: schedulerRules(defaults),
  }
}

/** @throws Misconfigured for filters and weighers that do not exist */
function schedulerRules(settings: ReturnType<typeof readDefaults>): SchedulerRules {
  const rules: SchedulerRules = {
    filters: settings.schedulerDefaultFilters,
    weighers: settings.schedulerDefaultWeighers,
    multipliers: {
      AllocatedCapacityWeigher: settings.allocatedCapacityWeightMultiplier,
      CapacityWeigher: settings.capacityWeightMultiplier,
      ChanceWeigher: 1,
      GoodnessWeigher: settings.goodnessWeightMultiplier,
      VolumeNumberWeigher: settings.volumeNumberMultiplier,
    },
  }
  const unknown = unknownNames(rules)
  if (unknown.length > 0) {
    throw new Misconfigured(`The scheduler has no filter or weigher called ${unknown.join(', ')}.`)
  }
  return rules
}
