import { createHash } from 'node:crypto'
import type { Config } from '../kernel/config/config.ts'
import {
  boolean,
  choice,
  integer,
  list,
  type Option,
  optionalText,
  seconds,
  text,
} from '../kernel/config/options.ts'
import { Invalid, Misconfigured } from '../kernel/errors.ts'
import { proxyOptions } from '../kernel/http/request-base.ts'
import { bracketedList, byteSize, type Values } from './option-kinds.ts'

/** A count whose -1 means that there is no limit. */
const quota = (name: string, fallback: number, what: string): Option<number> => ({
  ...integer(name, {
    default: fallback,
    min: -1,
    help: `How many ${what} an image may have; -1 for no limit.`,
  }),
})

const url = (name: string, help: string): Option<string | undefined> => {
  const plain = optionalText(name, { help })
  return {
    ...plain,
    parse(value) {
      if (value !== '' && !URL.canParse(value)) throw new Invalid(`expected a URL, not '${value}'`)
      return plain.parse(value.replace(/\/+$/, ''))
    },
  }
}

const defaultOptions = {
  publicEndpoint: url(
    'public_endpoint',
    'Base of the links in the version document, when it is not what the request says.',
  ),
  imageSizeCapBytes: integer('image_size_cap', {
    default: 1024 ** 4,
    min: 1,
    max: 9 * 1024 ** 5,
    help: 'Bytes that an image may have at most.',
  }),
  propertyQuota: quota('image_property_quota', 128, 'properties'),
  tagQuota: quota('image_tag_quota', 128, 'tags'),
  memberQuota: quota('image_member_quota', 128, 'members'),
  locationQuota: quota('image_location_quota', 10, 'locations'),
  storageQuotaBytes: byteSize('user_storage_quota', {
    help: 'What a project may store over all stores, as 500GB; 0 for no limit.',
  }),
  unifiedLimits: boolean('use_keystone_limits', {
    help: 'Limits of projects are those that Keystone keeps, and user_storage_quota is not looked at.',
  }),
  delayedDelete: boolean('delayed_delete', {
    help: 'Keep the data of deleted images for a while.',
  }),
  scrubSeconds: seconds('scrub_time', { default: 0, help: 'For how long, with delayed_delete.' }),
  protectionFile: optionalText('property_protection_file', {
    help: 'Who may create, read, update and delete which custom properties.',
  }),
  protectionFormat: choice('property_protection_rule_format', ['roles', 'policies'], {
    default: 'roles',
    help: 'What stands in that file: names of roles, or of policy rules.',
  }),
  pageDefault: integer('limit_param_default', {
    default: 25,
    min: 1,
    help: 'Items of a list without a limit.',
  }),
  pageMax: integer('api_limit_max', { default: 1000, min: 1, help: 'Items of a list at most.' }),
  showDirectUrl: boolean('show_image_direct_url', { help: 'Show where the image lies, as direct_url.' }),
  showLocations: boolean('show_multiple_locations', {
    help: 'Show and accept locations. Whoever may see locations can learn of the insides of the stores.',
  }),
  hashingAlgorithm: text('hashing_algorithm', {
    default: 'sha512',
    help: 'What os_hash_value is computed with.',
  }),
  importMethods: bracketedList('enabled_import_methods', {
    default: ['glance-direct', 'web-download', 'copy-image'],
    help: 'Ways of importing to offer, as [glance-direct,web-download]; [] switches importing off.',
  }),
  stagingUri: optionalText('node_staging_uri', {
    help: 'Where data waits for its import, as file:///path, when enabled_backends is not set.',
  }),
  selfReferenceUrl: url(
    'worker_self_reference_url',
    'Where other nodes of this service find this one; staged data and cached images are known by it.',
  ),
  secureHash: boolean('do_secure_hash', {
    default: true,
    help: 'Read what was added by its location, and compute its hash.',
  }),
  hashRetries: integer('http_retries', {
    default: 3,
    min: 0,
    help: 'How often reading for that hash is tried again.',
  }),
  stallSeconds: seconds('client_socket_timeout', {
    default: 900,
    help: 'How long a client may stall in the middle of an upload; 0 waits for ever.',
  }),
}

const formatOptions = {
  diskFormats: list('disk_formats', {
    default: ['ami', 'ari', 'aki', 'vhd', 'vhdx', 'vmdk', 'raw', 'qcow2', 'vdi', 'iso', 'ploop'],
    deprecatedNames: ['DEFAULT/disk_formats'],
    help: 'Values of disk_format that are accepted.',
  }),
  containerFormats: list('container_formats', {
    default: ['ami', 'ari', 'aki', 'bare', 'ovf', 'ova', 'docker', 'compressed'],
    deprecatedNames: ['DEFAULT/container_formats'],
    help: 'Values of container_format that are accepted.',
  }),
  requireMatch: boolean('require_image_format_match', {
    default: true,
    help: 'Refuse data that is not in the declared disk format.',
  }),
  nonfatalGptChecks: list('gpt_safety_checks_nonfatal', {
    help: 'Checks of partition tables that only warn.',
  }),
}

const taskOptions = {
  taskHours: integer('task_time_to_live', {
    default: 48,
    min: 1,
    deprecatedNames: ['DEFAULT/task_time_to_live'],
    help: 'Hours after which the record of a finished task goes away.',
  }),
}

const healthOptions = {
  disabledByFile: optionalText('disable_by_file_path', {
    help: 'While this file exists, /healthcheck answers that the service is not to be used.',
  }),
}

const authenticationOptions = {
  keystoneUri: optionalText('www_authenticate_uri', {
    deprecatedNames: ['auth_uri'],
    help: 'Address of Keystone that a caller without a token is told.',
  }),
}

/** What `glance-api.conf` says besides the stores. */
export type ImageSettings = Values<typeof defaultOptions> &
  Values<typeof formatOptions> &
  Values<typeof taskOptions> &
  Values<typeof healthOptions> &
  Values<typeof proxyOptions> &
  Values<typeof authenticationOptions>

/**
 * Reads the settings; problems of single values are reported by `config.check`.
 * @throws Misconfigured for a hashing algorithm that Node does not have
 */
export function readImageSettings(config: Config): ImageSettings {
  const settings: ImageSettings = {
    ...config.read('DEFAULT', defaultOptions),
    ...config.read('image_format', formatOptions),
    ...config.read('task', taskOptions),
    ...config.read('healthcheck', healthOptions),
    ...config.read('oslo_middleware', proxyOptions),
    ...config.read('keystone_authtoken', authenticationOptions),
  }
  try {
    createHash(settings.hashingAlgorithm)
  } catch (error) {
    throw new Misconfigured(
      `[DEFAULT] hashing_algorithm: there is no algorithm '${settings.hashingAlgorithm}'.`,
      {
        details: { option: 'hashing_algorithm' },
        cause: error,
      },
    )
  }
  return settings
}
