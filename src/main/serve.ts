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
import type { Logger } from '../kernel/log.ts'
import { Databases } from './databases.ts'
import type { ConfigDefaults } from './default-configuration.ts'
import { type IdentityProvider, keystoneElsewhere, startIdentityHere } from './identity.ts'
import type { Ports } from './ports.ts'
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
  /** What the operator should know about the configuration files. */
  readonly warnings: readonly string[]
}

/**
 * Builds identity, block storage and image, connects them through their public APIs, and listens.
 * @throws Misconfigured with every problem of the configuration files; an error with code EADDRINUSE
 */
export async function serve(options: {
  state: StateDirectory
  host: string
  ports: Ports
  cinderConf: readonly string[]
  glanceConf: readonly string[]
  defaults: ConfigDefaults
  databaseUrl: string
  initiatorName: string
  log: Logger
}): Promise<Services> {
  const { state, host, ports, log } = options
  await using undo = new AsyncDisposableStack()

  const cinder = await loadConfig({ files: options.cinderConf, defaults: options.defaults.cinder })
  const glance = await loadConfig({ files: options.glanceConf, defaults: options.defaults.glance })
  const databases = undo.use(new Databases(log))
  const databaseOf = (config: Config) =>
    databases.open(config.read('database', databaseOptions).connection ?? options.databaseUrl)

  const blockDatabase = await databaseOf(cinder)
  const imageDatabase = await databaseOf(glance)

  const named = { block: keystoneElsewhere(cinder), image: keystoneElsewhere(glance) }
  const here =
    named.block !== undefined && named.image !== undefined
      ? undefined
      : undo.use(
          await startIdentityHere({
            database: (await databases.open(options.databaseUrl)).as(),
            log: log.child({ service: 'identity' }),
            ...{ state, host, ports },
          }),
        )
  const identityOf = (provider: IdentityProvider | undefined): IdentityProvider => {
    const found = provider ?? here
    if (found === undefined) throw new Error('a service has no identity service')
    return found
  }
  const identity = { block: identityOf(named.block), image: identityOf(named.image) }

  const image = undo.use(
    await createImageService({
      database: imageDatabase.as(),
      jobs: imageDatabase.jobs,
      locks: imageDatabase.locks,
      log: log.child({ service: 'image' }),
      config: glance,
      tokens: identity.image.tokens,
      imageStores,
      stateDirectory: state.path,
      initiatorName: options.initiatorName,
      imageEndpoint: (where, token, signal) =>
        keystoneTokenSession({ authUrl: identity.image.authUrl, token }).endpoint(
          { type: 'image', ...where },
          signal,
        ),
      identityUrl: identity.image.authUrl,
    }),
  )

  const [imageService] = cinder.read('DEFAULT', imageServiceOptions).servers
  const blockTables = blockDatabase.as<BlockTables>()
  await migrate(blockTables.kysely, 'block', blockMigrations)
  const block = undo.use(
    await createBlockService({
      database: blockTables,
      jobs: blockDatabase.jobs,
      locks: blockDatabase.locks,
      log: log.child({ service: 'block-storage' }),
      config: cinder,
      tokens: identity.block.tokens,
      images: createImageClient({
        endpoint: imageService ?? `http://${host}:${ports.image}`,
        token: (signal) => identity.block.session.token(signal),
      }),
      volumeDrivers,
      backupDrivers,
      stateDirectory: join(state.path, 'block'),
      host: 'emberglass',
      initiatorName: options.initiatorName,
    }),
  )
  const warnings = [...cinder.check().warnings, ...glance.check().warnings]

  // Stopped in the reverse order: first no new requests, then jobs and drivers, then databases.
  if (here !== undefined) {
    await here.api.listen({ host, port: ports.identity })
    undo.defer(() => here.api.close())
  }
  await image.api.listen({ host, port: ports.image })
  undo.defer(() => image.api.close())
  await block.api.listen({ host, port: ports.blockStorage })
  undo.defer(() => block.api.close())

  await image.start()
  await block.start()
  for (const database of new Set([blockDatabase, imageDatabase])) {
    await database.jobs.start([
      ...(database === blockDatabase ? block.jobDefinitions : []),
      ...(database === imageDatabase ? image.jobDefinitions : []),
    ])
  }

  const running = undo.move()
  return {
    warnings,
    authUrl: identity.block.authUrl,
    identityIsHere: here !== undefined,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}
