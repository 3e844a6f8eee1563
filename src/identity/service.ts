import { sql } from 'kysely'
import type { Database } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { Invalid } from '../kernel/errors.ts'
import { type ApiServer, createApiServer } from '../kernel/http/api-server.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import type { Logger } from '../kernel/log.ts'
import { applicationCredentialRoutes } from './application-credentials/routes.ts'
import { grantRoutes } from './assignments/grants.ts'
import { assignmentRoutes } from './assignments/routes.ts'
import { type Bootstrap, bootstrap, bootstrapPasswords } from './bootstrap.ts'
import { catalogRoutes } from './catalog/routes.ts'
import type { IdentityContext } from './context.ts'
import { identityMigrations } from './db/migrations.ts'
import type { IdentityTables } from './db/tables.ts'
import { domainRoutes } from './domains/routes.ts'
import { installFaults } from './faults.ts'
import { groupRoutes } from './groups/routes.ts'
import { authenticateRequest } from './policy.ts'
import { projectRoutes } from './projects/routes.ts'
import { roleRoutes } from './roles/routes.ts'
import { defaultIdentitySettings, type IdentitySettings } from './settings.ts'
import { tokenCache } from './tokens/cache.ts'
import { deleteExpiredTokens } from './tokens/queries.ts'
import { authRoutes, issueRoute } from './tokens/routes.ts'
import { localTokenValidator } from './tokens/validate.ts'
import { passwordRoute, userRoutes } from './users/routes.ts'
import { versionRoutes } from './versions.ts'

/** How often expired tokens are removed, in milliseconds. */
const purgeEveryMs = 300_000
/** Names the lock under which one process at a time bootstraps; any number that nobody else uses. */
const bootstrapLock = 7_357_001

export interface IdentityService extends AsyncDisposable {
  /** Keystone's API, version 3; not listening yet. */
  readonly api: ApiServer
  /** Checks tokens in this process, without HTTP. */
  readonly tokens: TokenValidator
}

/**
 * Makes the identity service: migrates its tables, bootstraps, and mounts the API.
 * @param options.database stays open when the service is disposed
 */
export async function createIdentityService(options: {
  database: Database<IdentityTables>
  log: Logger
  settings?: IdentitySettings
  bootstrap: Bootstrap
  now?: () => Date
}): Promise<IdentityService> {
  const { database, log } = options
  const db = database.kysely
  await migrate(db, 'identity', identityMigrations)
  const passwords = await bootstrapPasswords(db, options.bootstrap)
  await db.transaction().execute(async (transaction) => {
    if (database.engine === 'postgres') {
      await sql`select pg_advisory_xact_lock(${bootstrapLock})`.execute(transaction)
    }
    await bootstrap(transaction, options.bootstrap, passwords)
  })

  const context: IdentityContext = {
    db,
    log,
    settings: options.settings ?? defaultIdentitySettings,
    cache: tokenCache(),
    now: options.now ?? (() => new Date()),
  }
  const purge = () =>
    deleteExpiredTokens(db, context.now().toISOString()).catch((error: unknown) => {
      log.warn({ err: error }, 'expired tokens could not be removed, will be tried again')
    })
  let purging: Promise<unknown> = purge()
  const timer = setInterval(() => {
    purging = purge()
  }, purgeEveryMs)
  timer.unref()

  const api = createApi(context)
  return {
    api,
    tokens: localTokenValidator(context),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await api.close()
      await purging
    },
  }
}

function createApi(context: IdentityContext): ApiServer {
  const app = createApiServer({ log: context.log })
  installFaults(app, context.settings)
  // clients say that a body is JSON also where there is none
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') {
      done(null, undefined)
      return
    }
    try {
      done(null, JSON.parse(String(body)))
    } catch {
      done(new Invalid('The request body is not valid JSON.'))
    }
  })

  versionRoutes(app, context.settings)
  issueRoute(app, context)
  passwordRoute(app, context)
  app.register(async (authenticated) => {
    authenticated.addHook('onRequest', (request) => authenticateRequest(context, request))
    const scope = authenticated as unknown as ApiServer // the same server, one scope further in
    authRoutes(scope, context)
    domainRoutes(scope, context)
    projectRoutes(scope, context)
    userRoutes(scope, context)
    groupRoutes(scope, context)
    roleRoutes(scope, context)
    grantRoutes(scope, context)
    assignmentRoutes(scope, context)
    catalogRoutes(scope, context)
    applicationCredentialRoutes(scope, context)
  })
  return app
}
