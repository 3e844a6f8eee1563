import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { IscsiServer } from '@emberglass/iscsi/target'
import { swVersionPattern } from '../versions.ts'
import { AlertLog } from './alert-log.ts'
import { AlertSender } from './alert-sender.ts'
import { auditEvent } from './audit.ts'
import { loadCertificate } from './certificate.ts'
import type { NodeContext, Portal, SystemIdentity } from './context.ts'
import { TargetExports } from './data-plane/exports.ts'
import { twoOf } from './data-plane/pool-portals.ts'
import { StoreUsage } from './data-plane/store-usage.ts'
import { Database } from './database/database.ts'
import { EdfNodeStartError, errorCode, messageOf } from './errors.ts'
import { EventLog } from './event-log.ts'
import { type EdfNodeEvent, printEvent } from './events.ts'
import { HealthWatch } from './health-watch.ts'
import { RestListener } from './http/listener.ts'
import { RestServer } from './http/server.ts'
import { checkLdapServers, type LdapServer } from './ldap-directory.ts'
import { KeyedLocks } from './locks.ts'
import { Meters } from './metering/meters.ts'
import { hashPassword, VerifiedPasswords, verifyPassword } from './password.ts'
import { reconcile } from './reconcile.ts'
import { MediaWatch } from './replicas/media-watch.ts'
import type { DataDirectory } from './replicas/medium.ts'
import { openReplicas } from './replicas/open-replicas.ts'
import { Scrubber } from './replicas/scrubber.ts'
import { seedDocuments } from './resources/documents.ts'
import { readSetting, writeSetting } from './resources/settings.ts'
import { resolveTenant, rootTenant } from './resources/tenants.ts'
import { createUser } from './resources/users.ts'
import { allRoutes } from './routes.ts'
import { Sessions } from './sessions.ts'
import { SnapshotClock } from './snapshot-clock.ts'
import { SnapshotScheduler } from './snapshot-scheduler.ts'
import { UnfinishedRemovals } from './unfinished.ts'

const adminLogin = 'admin'
/** All data are read once a week, at 32 MiB per second. */
const scrubbing = { bytesPerSecond: 32 * 1024 * 1024, intervalMs: 7 * 24 * 3600 * 1000 }

/** Where a node lies and listens. */
export interface EdfNodeOptions {
  /** Holds all state: metadata, data, certificate, generated password. Made when it is missing, for the owner only. */
  readonly directory: string
  /**
   * Where the data lie: copies of a volume on different ones. By default there is one, `hdd`, in `directory` itself; one
   * that holds data from before stays in use beside those that are named here.
   */
  readonly dataDirectories?: readonly DataDirectory[]
  /** Address of the REST interface. */
  readonly host: string
  /** 0 takes any free port. */
  readonly httpPort: number
  /** 0 takes any free port. */
  readonly httpsPort: number
  /** Where initiators log in. */
  readonly iscsi: Portal
  /**
   * Further addresses for initiators, with the same port. By default 127.0.0.2 beside 127.0.0.1, for clients that want
   * two ways, and none beside others. Address pools choose among all of them.
   */
  readonly moreIscsiHosts?: readonly string[]
  /** By default one is generated at first start, and kept in `admin-password`, readable by the owner only. */
  readonly adminPassword?: string
  /** What `sw_version` says: four numbers, default 3.3.0.0. Clients decide on features by it. */
  readonly productVersion?: string
  /** Reports each request as an event. */
  readonly verbose?: boolean
  /** Directories whose users may log in, naming the directory as `remote_server`. */
  readonly ldapServers?: readonly LdapServer[]
  /** Time in milliseconds that a session lives after its last use. Default: 15 minutes. */
  readonly sessionLifetimeMs?: number
  /** Without it, events are printed on standard error. */
  readonly onEvent?: (event: EdfNodeEvent) => void
}

/** A node that runs. */
export interface EdfNode {
  readonly httpUrl: string
  readonly httpsUrl: string
  /** `host:port` of the first portal. */
  readonly iscsiPortal: string
  /** The administrator's name: `admin`. */
  readonly login: string
  /** The administrator's password, also in the directory's `admin-password`. */
  readonly password: string
  /** Ends requests and sessions in an orderly way, and flushes what was written. Repeats safely. */
  close(): Promise<void>
}

/**
 * Starts a storage node: REST on http and https, iSCSI, and the store behind them.
 * @throws EdfNodeStartError one line that says what is in the way, with a stable `code`
 */
export async function startEdfNode(options: EdfNodeOptions): Promise<EdfNode> {
  const productVersion = options.productVersion ?? '3.3.0.0'
  if (!swVersionPattern.test(productVersion)) {
    throw new EdfNodeStartError('EINVAL', `"${productVersion}" is not a product version like 3.3.0.0`)
  }
  const report = options.onEvent ?? printEvent
  const stack = new AsyncDisposableStack()
  try {
    await prepareDirectory(options.directory)
    const database = new Database(join(options.directory, 'metadata.sqlite'))
    stack.defer(() => database.close())
    await chmod(join(options.directory, 'metadata.sqlite'), 0o600)
    const certificate = await loadCertificate(options.directory, certificateNames(options.host))
    const listener = new RestListener(certificate)
    stack.defer(() => listener.close())
    const ports = await listener.listen(options.host, options.httpPort, options.httpsPort)
    const events = new EventLog(database)
    stack.defer(() => events.flush())
    const alerts = new AlertLog(database)
    const identity = identityOf(database)
    const { store, rebuilds } = await openReplicas({
      database,
      events,
      alerts,
      systemUuid: identity.systemUuid,
      directories: dataDirectories(options),
      failed: (during, error) => report({ kind: 'replica', during, error }),
    })
    stack.defer(() => store[Symbol.asyncDispose]())
    const password = await prepareMetadata(database, options)
    const server = new IscsiServer()
    // By then all targets are gone and all portals closed: what is left are discovery sessions.
    stack.defer(() => atMost(1000, server.close()))
    const portals = await listenIscsi(server, options.iscsi, options.moreIscsiHosts)
    const meters = new Meters()
    const exports = new TargetExports({ database, store, server, meters, portals })
    stack.defer(() => exports.close())
    const scrubber = new Scrubber(store, database, scrubbing, (error) => {
      report({ kind: 'replica', during: 'the comparison with checksums', error })
    })
    stack.defer(() => scrubber.close())
    const context: NodeContext = {
      database,
      store,
      rebuilds,
      scrubber,
      usage: new StoreUsage(store),
      exports,
      meters,
      sessions: new Sessions(options.sessionLifetimeMs),
      ldapServers: checkLdapServers(options.ldapServers ?? []),
      passwords: new VerifiedPasswords(),
      events,
      alerts,
      locks: new KeyedLocks(),
      unfinished: new UnfinishedRemovals(),
      snapshotClock: new SnapshotClock(lastSnapshotTime(database)),
      identity,
      productVersion,
      startedAt: new Date(),
      portals: twoOf(portals),
      managementAddress: options.host,
    }
    stack.defer(() => context.locks.idle())
    const repairs = await reconcile(context)
    if (repairs.removed + repairs.orphans + repairs.grown + repairs.restored + repairs.missing.length > 0) {
      report({ kind: 'repaired', repairs })
    }
    await exports.syncAll()
    rebuilds.wake()
    stack.defer(() => rebuilds.stop())
    stack.defer(startHousekeeping(context, report))
    events.record({
      kind: 'system',
      code: 'NODE_STARTED',
      description: `the storage node started, product ${productVersion}`,
      tenant: rootTenant,
      objectPath: '/system',
      context: { repairs },
    })
    const rest = new RestServer({
      routes: allRoutes(context),
      sessions: context.sessions,
      resolveTenant: (header, user) => resolveTenant(database, header, user),
      ...(options.verbose && { onRequest: (request) => report({ kind: 'request', request }) }),
      onDone: (route, request, answer) => {
        const event = auditEvent(route, request, answer)
        if (event !== undefined) events.note(event)
      },
      onFailure: (error, during) => report({ kind: 'failure', during, error }),
    })
    stack.defer(() => rest.close())
    listener.open(await rest.handler())
    const urls = urlsOf(options.host, ports)
    // For those who find the directory in use, and want to ask whoever uses it.
    await writeFile(join(options.directory, 'rest-url'), `${urls.httpUrl}\n`, { mode: 0o600 })
    // First of all at the end: no request may meet what is closed already.
    stack.defer(() => listener.close())
    const [portal] = portals
    let closing: Promise<void> | undefined
    return {
      ...urls,
      iscsiPortal: portal ? `${portal.host}:${portal.port}` : '',
      login: adminLogin,
      password,
      close: () => {
        closing ??= stack.disposeAsync()
        return closing
      },
    }
  } catch (error) {
    await stack.disposeAsync()
    throw error instanceof EdfNodeStartError
      ? error
      : new EdfNodeStartError(errorCode(error) ?? 'EIO', messageOf(error), error)
  }
}

async function prepareDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await chmod(directory, 0o700)
  } catch (error) {
    const code = errorCode(error) ?? 'EIO'
    throw new EdfNodeStartError(code, `cannot use the directory ${directory}: ${messageOf(error)}`, error)
  }
}

function dataDirectories(options: EdfNodeOptions): readonly DataDirectory[] {
  const own: DataDirectory = { path: options.directory, media: 'hdd' }
  const named = options.dataDirectories ?? []
  if (named.length === 0) return [own]
  const paths = new Set(named.map(({ path }) => resolve(path)))
  if (paths.size < named.length) throw new EdfNodeStartError('EINVAL', 'a data directory is named twice')
  const hasData = existsSync(join(options.directory, 'store')) && !paths.has(resolve(options.directory))
  const all = named.map(({ path, media }) => ({ path: resolve(path), media }))
  return hasData ? [own, ...all] : all
}

function certificateNames(host: string): string[] {
  return [...new Set(['localhost', hostname(), '127.0.0.1', host])].filter((name) => !name.includes(':'))
}

/** Seeds what every array has. @returns password of the administrator */
async function prepareMetadata(database: Database, options: EdfNodeOptions): Promise<string> {
  database.run(
    `INSERT INTO tenant (path, name, parent_path) VALUES (?, 'root', '') ON CONFLICT DO NOTHING`,
    rootTenant,
  )
  database.transaction(() => seedDocuments({ database }))
  const file = join(options.directory, 'admin-password')
  const kept = await readFile(file, 'utf8').catch(() => undefined)
  const stored = database.get<{ password_hash: string }>(
    'SELECT password_hash FROM user WHERE user_id = ?',
    adminLogin,
  )
  const password = options.adminPassword ?? (kept?.trim() || randomBytes(18).toString('base64url'))
  if (kept?.trim() !== password) await writeFile(file, `${password}\n`, { mode: 0o600, flush: true })
  await chmod(file, 0o600)
  if (stored === undefined) {
    await createUser({ database }, { user_id: adminLogin, full_name: 'Administrator', password })
  } else if (options.adminPassword !== undefined && !(await verifyPassword(password, stored.password_hash))) {
    database.run(
      'UPDATE user SET password_hash = ? WHERE user_id = ?',
      await hashPassword(password),
      adminLogin,
    )
  }
  return password
}

function identityOf(database: Database): SystemIdentity {
  const identity = readSetting<SystemIdentity | undefined>(database, 'identity', undefined)
  if (identity !== undefined) return identity
  const made = { systemUuid: randomUUID(), nodeUuid: randomUUID() }
  writeSetting(database, 'identity', made)
  return made
}

function lastSnapshotTime(database: Database): string | undefined {
  const row = database.get<{ last: string | null }>(
    `SELECT max(utc_ts) AS last FROM (SELECT utc_ts FROM snapshot UNION ALL SELECT utc_ts FROM app_snapshot)`,
  )
  return row?.last ?? undefined
}

/** The configured portals; on loopback, unless others are configured, a second one where the system has it. */
async function listenIscsi(
  server: IscsiServer,
  portal: Portal,
  moreHosts: readonly string[] | undefined,
): Promise<Portal[]> {
  const first = await listenPortal(server, portal)
  if (moreHosts !== undefined) {
    const more = [...new Set(moreHosts)].filter((host) => host !== portal.host)
    return [
      first,
      ...(await Promise.all(more.map((host) => listenPortal(server, { host, port: first.port })))),
    ]
  }
  if (portal.host !== '127.0.0.1') return [first]
  try {
    return [first, await server.listen({ host: '127.0.0.2', port: first.port })]
  } catch {
    // Not every system answers on the whole of 127.0.0.0/8, and the port may be taken there.
    return [first]
  }
}

async function listenPortal(server: IscsiServer, portal: Portal): Promise<Portal> {
  try {
    return await server.listen(portal)
  } catch (error) {
    const code = errorCode(error) ?? 'EIO'
    const reason = code === 'EADDRINUSE' ? 'the port is taken' : messageOf(error)
    throw new EdfNodeStartError(code, `cannot listen on ${portal.host}:${portal.port}: ${reason}`, error)
  }
}

function urlsOf(host: string, ports: { readonly http: number; readonly https: number }) {
  const name = host.includes(':') ? `[${host}]` : host
  return { httpUrl: `http://${name}:${ports.http}`, httpsUrl: `https://${name}:${ports.https}` }
}

/** What happens by the clock: points of metrics, snapshots of policies, looks at the health. @returns ends it */
function startHousekeeping(context: NodeContext, report: (event: EdfNodeEvent) => void): () => Promise<void> {
  const failed = (during: string) => (error: unknown) => report({ kind: 'failure', during, error })
  context.meters.start()
  const scheduler = new SnapshotScheduler(context, failed('the schedule of snapshots'))
  const health = new HealthWatch(context, failed('the look at the health'))
  const mediaWatch = new MediaWatch(
    context.store,
    () => health.look(),
    failed('the look at the data directories'),
  )
  const sender = new AlertSender(context.database, context.alerts, failed('the sending of alerts'))
  return async () => {
    context.meters.stop()
    health.stop()
    await mediaWatch.stop()
    await sender.close()
    await scheduler.stop()
  }
}

/** Waits, but not for ever; the timer also keeps the process alive while it waits. */
async function atMost(milliseconds: number, work: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, milliseconds)
  try {
    await Promise.race([work, promise])
  } finally {
    clearTimeout(timer)
  }
}
