import { lstatSync, realpathSync } from 'node:fs'
import { dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from '../kernel/config/config.ts'
import { integer, list, multiple, optionalText, text } from '../kernel/config/options.ts'
import { Misconfigured } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { AnyImageStoreDefinition } from './image-store.ts'
import { type ConfiguredStore, StoreRegistry } from './store-registry.ts'

const reservedStores = ['os_glance_staging_store', 'os_glance_tasks_store'] as const

const backendsOption = {
  enabledBackends: list('enabled_backends', {
    help: 'The stores, as name:type,name:type. Its presence switches store names on in the API.',
  }),
}

const defaultBackendOption = {
  defaultBackend: optionalText('default_backend', { help: 'The store of uploads that name none.' }),
}

const singleStoreOptions = {
  stores: list('stores', {
    default: ['file'],
    help: 'Types of stores, when enabled_backends is not set.',
  }),
  defaultStore: text('default_store', { default: 'file', help: 'The type that uploads go to.' }),
}

const storeOptions = {
  description: optionalText('store_description', { help: 'Free text for whoever chooses a store.' }),
  weight: integer('weight', { help: 'Stores with a higher weight are read first.' }),
}

const directoryOptions = {
  directory: optionalText('filesystem_store_datadir', { help: 'Directory of the store.' }),
  directories: multiple('filesystem_store_datadirs', { help: 'Several directories, as path:priority.' }),
}

/** Where imports stage their data. @see image-api specification 4.3, 5.2 */
export function stagingDirectory(
  config: Config,
  options: { multiStore: boolean; uri: string | undefined; stateDirectory: string },
): string {
  if (options.multiStore) {
    const { directory } = config.read('os_glance_staging_store', directoryOptions)
    return resolve(directory ?? join(options.stateDirectory, 'os_glance_staging_store'))
  }
  if (options.uri === undefined) return resolve(options.stateDirectory, 'staging')
  if (!options.uri.startsWith('file:///')) {
    throw wrong('DEFAULT', 'node_staging_uri', `expected file:///path, not '${options.uri}'.`)
  }
  return fileURLToPath(options.uri)
}

const cacheDirectoryOption = {
  cache: optionalText('image_cache_dir', { help: 'Where downloaded images are kept.' }),
}

interface StoreChoice {
  readonly id: string
  readonly definition: AnyImageStoreDefinition
}

/**
 * Reads `enabled_backends` and each store's section, or the older single-store options, and makes the stores.
 * @throws Misconfigured, with one clear line, for what the specification's start-up rules forbid
 * @see image-api specification 5.1, 5.2, 5.3
 */
export async function configureStores(options: {
  config: Config
  definitions: readonly AnyImageStoreDefinition[]
  stateDirectory: string
  initiatorName: string
  identityUrl?: string | undefined
  log: Logger
}): Promise<StoreRegistry> {
  const { config } = options
  const { enabledBackends } = config.read('DEFAULT', backendsOption)
  const multiStore = enabledBackends.length > 0
  const choices = multiStore ? backends(enabledBackends, options.definitions) : singleStore(options)
  const defaultId = multiStore ? defaultBackend(config, choices) : choices[0]?.id
  const sectionOf = (id: string) => (multiStore ? id : 'glance_store')

  checkDirectories(options, choices, multiStore)
  checkReadOnly(choices, defaultId, multiStore)
  const occupied = new Map<string, string>()
  const stores: ConfiguredStore[] = []
  for (const { id, definition } of choices) {
    const section = sectionOf(id)
    const inherit = multiStore ? ['backend_defaults'] : []
    const { description, weight } = config.read(section, storeOptions, inherit)
    if (!config.has(section) && multiStore) {
      options.log.warn({ store: id }, `there is no section [${id}]: the store runs with its defaults`)
    }
    const settings = config.read<object>(section, definition.options, inherit)
    refuseShared(occupied, section, definition, settings)
    const store = await definition.create(settings, {
      name: id,
      multiStore,
      initiatorName: options.initiatorName,
      stateDirectory: options.stateDirectory,
      identityUrl: options.identityUrl,
      log: options.log,
    })
    const { type, schemes, readOnly = false } = definition
    stores.push({ id, type, schemes, readOnly, description, weight, store })
  }
  const chosen = stores.find((store) => store.id === defaultId)
  if (chosen === undefined) throw new Misconfigured('No image store is configured.')
  return new StoreRegistry({ stores, default: chosen, multiStore, log: options.log })
}

function backends(
  entries: readonly string[],
  definitions: readonly AnyImageStoreDefinition[],
): readonly StoreChoice[] {
  const choices: StoreChoice[] = []
  for (const entry of entries) {
    const colon = entry.indexOf(':')
    const id = entry.slice(0, colon).trim()
    const type = entry.slice(colon + 1).trim()
    if (colon <= 0 || type === '') {
      throw wrong('DEFAULT', 'enabled_backends', `expected name:type, not '${entry}'.`)
    }
    if (id.startsWith('os_glance_')) {
      throw wrong('DEFAULT', 'enabled_backends', `the prefix os_glance_ is reserved, and '${id}' has it.`)
    }
    if (!/^[!-~]+$/.test(id) || /[,/:]/.test(id)) {
      throw wrong('DEFAULT', 'enabled_backends', `'${id}' cannot be the name of a store.`)
    }
    if (choices.some((choice) => choice.id === id)) {
      throw wrong('DEFAULT', 'enabled_backends', `there are two stores called '${id}'.`)
    }
    const definition = definitions.find((candidate) => candidate.type === type)
    if (definition === undefined) {
      const known = definitions.map((candidate) => candidate.type)
      throw unknownType('DEFAULT', 'enabled_backends', type, known)
    }
    choices.push({ id, definition })
  }
  return choices
}

function defaultBackend(config: Config, choices: readonly StoreChoice[]): string {
  const { defaultBackend: id } = config.read('glance_store', defaultBackendOption)
  const names = choices.map((choice) => choice.id).join(', ')
  if (id === undefined) throw wrong('glance_store', 'default_backend', `must name one of ${names}.`)
  if (!choices.some((choice) => choice.id === id)) {
    throw wrong('glance_store', 'default_backend', `'${id}' is not one of ${names}.`)
  }
  return id
}

/** The older way: types instead of names, all options in `[glance_store]`. The first choice is the default. */
function singleStore(options: {
  config: Config
  definitions: readonly AnyImageStoreDefinition[]
  log: Logger
}): readonly StoreChoice[] {
  const { stores, defaultStore } = options.config.read('glance_store', singleStoreOptions)
  const find = (name: string) =>
    options.definitions.find((candidate) => candidate.type === name || candidate.schemes.includes(name))
  const known = options.definitions.map((candidate) => candidate.type)
  const main = find(defaultStore)
  if (main === undefined) {
    throw unknownType('glance_store', 'default_store', defaultStore, known)
  }
  const choices: StoreChoice[] = [{ id: main.type, definition: main }]
  for (const name of stores) {
    const definition = find(name)
    if (name === 'sheepdog') throw unknownType('glance_store', 'stores', name, known)
    if (definition === undefined) {
      options.log.warn({ store: name }, 'the image store type is not known, and is left out')
    } else if (!choices.some((choice) => choice.definition === definition)) {
      choices.push({ id: definition.type, definition })
    }
  }
  return choices
}

/** A read-only store takes no uploads, and a second one could not be told from the first. */
function checkReadOnly(
  choices: readonly StoreChoice[],
  defaultId: string | undefined,
  multiStore: boolean,
): void {
  const readOnly = choices.filter(({ definition }) => definition.readOnly === true)
  const [first, second] = readOnly
  const [section, option] = multiStore
    ? (['glance_store', 'default_backend'] as const)
    : (['glance_store', 'default_store'] as const)
  if (first !== undefined && second !== undefined) {
    throw wrong(
      'DEFAULT',
      'enabled_backends',
      `'${first.id}' and '${second.id}' are both of type ${second.definition.type}; there can be one such store only.`,
    )
  }
  if (first !== undefined && first.id === defaultId) {
    throw wrong(section, option, `'${first.id}' is read-only, and cannot be the store of uploads.`)
  }
}

/** Two stores on the same storage would destroy each other's images. */
function refuseShared(
  occupied: Map<string, string>,
  section: string,
  definition: AnyImageStoreDefinition,
  settings: object,
): void {
  const place = definition.occupies?.(settings)
  if (place === undefined) return
  const key = `${definition.type} ${place}`
  const other = occupied.get(key)
  if (other !== undefined) {
    throw new Misconfigured(
      `[${section}] and [${other}] are stores of type ${definition.type} on the same storage (${place}); each store needs a place of its own.`,
      { details: { section, other } },
    )
  }
  occupied.set(key, section)
}

/** @throws Misconfigured */
function unknownType(section: string, option: string, type: string, known: readonly string[]): Misconfigured {
  if (type === 'sheepdog') {
    return wrong(section, option, 'the store type sheepdog no longer exists: Sheepdog was given up in 2020.')
  }
  return wrong(section, option, `there is no store type '${type}'; there are ${known.join(', ')}.`)
}

/** Two stores in one directory, or in one another's, would destroy each other's images. */
function checkDirectories(
  options: { config: Config; stateDirectory: string },
  choices: readonly StoreChoice[],
  multiStore: boolean,
): void {
  const used: { section: string; path: string }[] = []
  const sections = choices.filter(({ definition }) => definition.type === 'file').map(({ id }) => id)
  for (const id of [...sections, ...(multiStore ? reservedStores : [])]) {
    const section = multiStore ? id : 'glance_store'
    const { directory, directories } = options.config.read(section, directoryOptions)
    const fallback = reservedStores.some((reserved) => reserved === id)
      ? join(options.stateDirectory, id)
      : undefined // the store chooses one of its own
    const paths =
      directories.length > 0
        ? directories.map((entry) => entry.replace(/:\d+$/, ''))
        : [directory ?? fallback]
    for (const path of paths) if (path !== undefined) used.push({ section, path: realPath(path) })
  }
  // the cache forgets what it likes: nothing that must last may lie there
  const { cache } = options.config.read('DEFAULT', cacheDirectoryOption)
  const cachePath = cache === undefined ? undefined : realPath(cache)
  for (const { section, path } of used) {
    if (cachePath === undefined || !(isInside(cachePath, path) || isInside(path, cachePath))) continue
    throw wrong(
      'DEFAULT',
      'image_cache_dir',
      `${cachePath} is also used by [${section}] (${path}); the cache needs a directory of its own.`,
    )
  }
  for (const [index, one] of used.entries()) {
    for (const other of used.slice(index + 1)) {
      if (isInside(one.path, other.path) || isInside(other.path, one.path)) {
        throw wrong(
          other.section,
          'filesystem_store_datadir',
          `${other.path} is also used by [${one.section}] (${one.path}); each store needs a directory of its own.`,
        )
      }
    }
  }
}

function isInside(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory + sep)
}

/** The path with its links resolved, as far as it exists. */
function realPath(path: string): string {
  const absolute = resolve(path)
  const exists = lstatSync(absolute, { throwIfNoEntry: false }) !== undefined
  if (exists) return realpathSync(absolute)
  const parent = dirname(absolute)
  return parent === absolute ? absolute : join(realPath(parent), absolute.slice(parent.length))
}

function wrong(section: string, option: string, problem: string): Misconfigured {
  return new Misconfigured(`[${section}] ${option}: ${problem}`, { details: { section, option } })
}
