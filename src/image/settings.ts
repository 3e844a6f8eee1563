import { createHash } from 'node:crypto'
import type { Config } from '../kernel/config/config.ts'
import { boolean, integer, list, type Option, optionalText, seconds, text } from '../kernel/config/options.ts'
import { Invalid, Misconfigured } from '../kernel/errors.ts'

/** A comma list that may stand in brackets, as oslo's bounded lists do. */
function bracketedList(
  name: string,
  extras: { help: string; default: readonly string[] },
): Option<readonly string[]> {
  const plain = list(name, extras)
  return {
    ...plain,
    parse: (value) =>
      plain
        .parse(value.replace(/^\s*\[(.*)\]\s*$/s, '$1'))
        .map((item) => item.replace(/^(['"])(.*)\1$/, '$2')),
  }
}

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
    help: 'Ways of importing to offer. Those this service does not have are left out.',
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

const authenticationOptions = {
  keystoneUri: optionalText('www_authenticate_uri', {
    deprecatedNames: ['auth_uri'],
    help: 'Address of Keystone that a caller without a token is told.',
  }),
}

type Values<Options> = {
  readonly [Key in keyof Options]: Options[Key] extends Option<infer Value> ? Value : never
}

/** What `glance-api.conf` says besides the stores. */
export type ImageSettings = Values<typeof defaultOptions> &
  Values<typeof formatOptions> &
  Values<typeof authenticationOptions>

/**
 * Reads the settings; problems of single values are reported by `config.check`.
 * @throws Misconfigured for a hashing algorithm that Node does not have
 */
export function readImageSettings(config: Config): ImageSettings {
  const settings: ImageSettings = {
    ...config.read('DEFAULT', defaultOptions),
    ...config.read('image_format', formatOptions),
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
