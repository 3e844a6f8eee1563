import { join } from 'node:path'
import { backupDrivers } from '../block/backup-drivers/index.ts'
import { blockMigrations } from '../block/db/migrations.ts'
import type { BlockTables } from '../block/db/tables.ts'
import { createBlockService } from '../block/service.ts'
import { volumeDrivers } from '../block/volume-drivers/index.ts'
import { createImageClient } from '../clients/image.ts'
import { keystoneTokenSession } from '../clients/keystone.ts'
import { createImageService } from '../image/service.ts'
import { imageStores } from '../image/stores/index.ts'
import { type Config, loadConfig } from '../kernel/config/config.ts'
import { list, optionalText } from '../kernel/config/options.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { Misconfigured } from '../kernel/errors.ts'
import type { AnyJobDefinition } from '../kernel/jobs/job-queue.ts'
import type { Logger } from '../kernel/log.ts'
import { Databases, type SharedDatabase } from './databases.ts'
import type { ConfigDefaults } from './default-configuration.ts'
import { type IdentityProvider, keystoneElsewhere, startIdentityHere } from './identity.ts'
import { type AskedAddress, blockStorageAddress, imageAddress, loopback, urlOf } from './listen.ts'
import { type ServiceName, serviceNames } from './services.ts'
import type { StateDirectory } from './state-directory.ts'

const databaseOptions = {
  connection: optionalText('connection', { help: 'SQLAlchemy URL: sqlite:////path or postgresql://…' }),
}

const imageServiceOptions = {
  servers: list('glance_api_servers', { help: 'Image service to use instead of the one in this process.' }),
}

/** The running services of one process. */
export interface Services extends AsyncDisposable {
  /** Where tokens come from. */
  readonly authUrl: string
  /** Whether that is the identity service in this process. */
  readonly identityIsHere: boolean
  /** The API of each service that runs here, with its version. */
  readonly endpoints: readonly { readonly service: ServiceName; readonly url: string }[]
  /** What the operator should know about the configuration files. */
  readonly warnings: readonly string[]
}

/**
 * Builds the services that are asked for, connects them through their public APIs, and listens.
 * @throws Misconfigured with every problem of the configuration files; an error with code EADDRINUSE
 */
export async function serve(options: {
  state: StateDirectory
  services: ReadonlySet<ServiceName>
  addresses: AskedAddress
  cinderConf: readonly string[]
  glanceConf: readonly string[]
  defaults: ConfigDefaults
  databaseUrl: string
  initiatorName: string
  /** The embedded array: stores and backends are started when it is there. */
  array?: Promise<unknown> | undefined
  log: Logger
}): Promise<Services> {
  const { state, services, addresses, log } = options
  await using undo = new AsyncDisposableStack()

  const cinder = await loadConfig({ files: options.cinderConf, defaults: options.defaults.cinder })
  const glance = await loadConfig({ files: options.glanceConf, defaults: options.defaults.glance })
  const databases = undo.use(new Databases(log))
  const databaseOf = (config: Config) =>
    databases.open(config.read('database', databaseOptions).connection ?? options.databaseUrl)

  const listen = {
    identity: { host: addresses.host ?? loopback, port: addresses.ports.identity },
    blockStorage: blockStorageAddress(cinder, addresses),
    image: imageAddress(glance, addresses),
  }
  const named = {
    block: services.has('block-storage') ? keystoneElsewhere(cinder) : undefined,
    image: services.has('image') ? keystoneElsewhere(glance) : undefined,
  }
  const isNeeded =
    (services.has('block-storage') && named.block === undefined) ||
    (services.has('image') && named.image === undefined)
  if (isNeeded && !services.has('identity')) {
    throw new Misconfigured(
      'No identity service: --only leaves out the one of this process, so [keystone_authtoken] auth_url, username and ' +
        'password have to name one, in the configuration of each service that runs here.',
    )
  }
  const isAskedFor = services.has('identity') && services.size < serviceNames.length
  const here =
    isNeeded || isAskedFor
      ? undo.use(
          await startIdentityHere({
            database: (await databases.open(options.databaseUrl)).as(),
            log: log.child({ service: 'identity' }),
            state,
            urls: {
              identity: urlOf(listen.identity),
              blockStorage: urlOf(listen.blockStorage),
              image: urlOf(listen.image),
            },
          }),
        )
      : undefined
  const identityOf = (provider: IdentityProvider | undefined): IdentityProvider => {
    const found = provider ?? here
    if (found === undefined) throw new Error('a service has no identity service')
    return found
  }

  const image = services.has('image') ? undo.use(await imageService()) : undefined
  const block = services.has('block-storage') ? undo.use(await blockService()) : undefined
  const warnings = [
    ...(block === undefined ? [] : cinder.check().warnings),
    ...(image === undefined ? [] : glance.check().warnings),
  ]

  // Stopped in the reverse order: first no new requests, then jobs and drivers, then databases.
  if (here !== undefined) {
    await here.api.listen(listen.identity)
    undo.defer(() => here.api.close())
  }
  if (image !== undefined) {
    await image.api.listen(listen.image)
    undo.defer(() => image.api.close())
  }
  if (block !== undefined) {
    await block.api.listen(listen.blockStorage)
    undo.defer(() => block.api.close())
  }

  await options.array
  await image?.start()
  await block?.start()
  const jobs = new Map<SharedDatabase, AnyJobDefinition[]>()
  const addJobs = (database: SharedDatabase, definitions: readonly AnyJobDefinition[]) => {
    jobs.set(database, [...(jobs.get(database) ?? []), ...definitions])
  }
  if (image !== undefined) addJobs(await databaseOf(glance), image.jobDefinitions)
  if (block !== undefined) addJobs(await databaseOf(cinder), block.jobDefinitions)
  for (const [database, definitions] of jobs) await database.jobs.start(definitions)

  const running = undo.move()
  return {
    warnings,
    authUrl: here?.authUrl ?? identityOf(named.block ?? named.image).authUrl,
    identityIsHere: here !== undefined,
    endpoints: [
      ...(here === undefined ? [] : [{ service: 'identity' as const, url: here.authUrl }]),
      ...(block === undefined
        ? []
        : [{ service: 'block-storage' as const, url: `${urlOf(listen.blockStorage)}/v3` }]),
      ...(image === undefined ? [] : [{ service: 'image' as const, url: `${urlOf(listen.image)}/v2` }]),
    ],
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }

  async function imageService() {
    const database = await databaseOf(glance)
    const identity = identityOf(named.image)
    return await createImageService({
      database: database.as(),
      jobs: database.jobs,
      locks: database.locks,
      log: log.child({ service: 'image' }),
      config: glance,
      tokens: identity.tokens,
      imageStores,
      stateDirectory: state.path,
      initiatorName: options.initiatorName,
      imageEndpoint: (where, token, signal) =>
        keystoneTokenSession({ authUrl: identity.authUrl, token }).endpoint(
          { type: 'image', ...where },
          signal,
        ),
      identityUrl: identity.authUrl,
    })
  }

  async function blockService() {
    const database = await databaseOf(cinder)
    const tables = database.as<BlockTables>()
    await migrate(tables.kysely, 'block', blockMigrations)
    const identity = identityOf(named.block)
    const [imageServer] = cinder.read('DEFAULT', imageServiceOptions).servers
    if (imageServer === undefined && image === undefined) {
      throw new Misconfigured(
        'No image service: --only leaves out the one of this process, so [DEFAULT] glance_api_servers has to name one.',
      )
    }
    return await createBlockService({
      database: tables,
      jobs: database.jobs,
      locks: database.locks,
      log: log.child({ service: 'block-storage' }),
      config: cinder,
      tokens: identity.tokens,
      images: createImageClient({
        endpoint: imageServer ?? urlOf(listen.image),
        token: (signal) => identity.session.token(signal),
      }),
      volumeDrivers,
      backupDrivers,
      stateDirectory: join(state.path, 'block'),
      host: 'emberglass',
      initiatorName: options.initiatorName,
    })
  }
}
