import type { Config } from '../../kernel/config/config.ts'
import { dictionary, float, integer, list, text } from '../../kernel/config/options.ts'
import { Misconfigured } from '../../kernel/errors.ts'
import { bracketedList, type Values } from '../option-kinds.ts'

/** Plugins that may be named, in whatever order. */
export const pluginNames = [
  'no_op',
  'inject_image_metadata',
  'image_decompression',
  'image_conversion',
] as const
export type PluginName = (typeof pluginNames)[number]

const importOptions = {
  plugins: bracketedList('image_import_plugins', {
    default: [],
    help: `What is done to imported data, in order: ${pluginNames.join(', ')}.`,
  }),
  maxParallelStores: integer('max_parallel_stores', {
    default: 1,
    min: 1,
    max: 64,
    help: 'Stores that an import writes to at once, in one pass over its data.',
  }),
}

/** `[import_filtering_opts]`, and its like for locations. */
export const filterOptions = {
  allowedSchemes: bracketedList('allowed_schemes', {
    default: ['http', 'https'],
    help: 'URL schemes that are fetched from; when set, disallowed_schemes is not looked at.',
  }),
  disallowedSchemes: bracketedList('disallowed_schemes', { default: [], help: 'URL schemes that are not.' }),
  allowedHosts: bracketedList('allowed_hosts', {
    default: [],
    help: 'Hosts that are fetched from; when set, disallowed_hosts is not looked at.',
  }),
  disallowedHosts: bracketedList('disallowed_hosts', {
    default: [],
    help: 'Hosts that are not: names, addresses, or networks such as 10.0.0.0/8.',
  }),
  allowedPorts: bracketedList('allowed_ports', {
    default: ['80', '443'],
    help: 'Ports that are fetched from; when set, disallowed_ports is not looked at.',
  }),
  disallowedPorts: bracketedList('disallowed_ports', { default: [], help: 'Ports that are not.' }),
}
export type FilterSettings = Values<typeof filterOptions>

const injectOptions = {
  ignoredRoles: list('ignore_user_roles', {
    default: ['admin'],
    help: 'Users with one of these roles get no properties injected.',
  }),
  inject: dictionary('inject', { help: 'Properties that imported images get, as name:value,name:value.' }),
}

const decompressionOptions = {
  maxExpansionRatio: float('max_expansion_ratio', {
    default: 1000,
    help: 'Compressed data may become so many times larger at most.',
  }),
  maxOutputBytes: integer('max_output_size', {
    default: 0,
    min: 0,
    help: 'Bytes that compressed data may become at most; 0 means image_size_cap.',
  }),
}

const conversionOptions = {
  outputFormat: text('output_format', {
    default: 'raw',
    help: 'What image_conversion makes of imported images: raw, qcow2 or vmdk.',
  }),
}

const downloadOptions = {
  extraProperties: bracketedList('extra_properties', {
    default: ['hw_', 'trait:', 'os_distro', 'os_secure_boot', 'os_type'],
    help: 'Beginnings of the names of properties that glance-download copies.',
  }),
}

export type ImportSettings = Values<typeof importOptions> & {
  readonly filter: FilterSettings
  readonly injection: Values<typeof injectOptions>
  readonly decompression: Values<typeof decompressionOptions>
  readonly conversion: { readonly outputFormat: 'raw' | 'qcow2' | 'vmdk' }
  readonly download: Values<typeof downloadOptions>
}

/** @throws Misconfigured for a plugin or an output format that does not exist */
export function readImportSettings(config: Config): ImportSettings {
  const opts = config.read('image_import_opts', importOptions)
  for (const name of opts.plugins) {
    if (!pluginNames.some((known) => known === name)) {
      throw new Misconfigured(
        `[image_import_opts] image_import_plugins: there is no plugin '${name}'; there are ${pluginNames.join(', ')}.`,
        { details: { option: 'image_import_plugins' } },
      )
    }
  }
  const { outputFormat } = config.read('image_conversion', conversionOptions)
  const format = (['raw', 'qcow2', 'vmdk'] as const).find((known) => known === outputFormat)
  if (format === undefined) {
    throw new Misconfigured(
      `[image_conversion] output_format: expected raw, qcow2 or vmdk, not '${outputFormat}'.`,
      { details: { option: 'output_format' } },
    )
  }
  return {
    ...opts,
    filter: config.read('import_filtering_opts', filterOptions),
    injection: config.read('inject_metadata_properties', injectOptions),
    decompression: config.read('image_decompression', decompressionOptions),
    conversion: { outputFormat: format },
    download: config.read('glance_download_properties', downloadOptions),
  }
}
