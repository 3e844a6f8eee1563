import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { DataDirectory } from '@emberglass/edf/node'
import { pino } from 'pino'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import { createLogger } from '../kernel/log.ts'
import { writeArrayCredentials, writeCredentialsFiles } from './credentials-files.ts'
import { defaultConfiguration } from './default-configuration.ts'
import { startEdfNodeProcess } from './edf-node-process.ts'
import { loopback } from './listen.ts'
import { portsFrom } from './ports.ts'
import type { Services } from './serve.ts'
import { servicesNamed } from './services.ts'
import { describeStartError } from './start-errors.ts'
import { openStateDirectory } from './state-directory.ts'

export interface StartOptions {
  readonly stateDir: string
  readonly portBase?: number
  /** Undefined: as the configuration files say, or loopback. */
  readonly host?: string
  /** Services of this process, separated by commas; undefined: all. */
  readonly only?: string
  readonly cinderConf?: string
  readonly glanceConf?: string
  readonly database?: string
  readonly edfNode: boolean
  /** Where the embedded array keeps its data; undefined: in the state directory. */
  readonly edfDataDirectory?: readonly DataDirectory[]
  readonly logLevel: string
}

/** A stop that takes longer than this is cut short: durable state needs no goodbye. Milliseconds. */
const stopPatienceMs = 15_000
/** A signal that comes so soon after the first is the same one. Milliseconds. */
const secondSignalMs = 1_000

/** `emberglass start`: everything on this machine, and `emberglass serve`: some services, and no array. Returns when it runs; ends the process when it is stopped. */
export async function start(options: StartOptions): Promise<void> {
  const running = new AsyncDisposableStack()
  let stopping: Promise<never> | undefined
  const stop = (exitCode: number): Promise<never> => {
    stopping ??= stopEverything(running, exitCode)
    return stopping
  }
  let askedAt: number | undefined
  const onSignal = () => {
    if (askedAt !== undefined) {
      // A second Ctrl-C does not wait; but npm passes on the first one that the terminal has sent already.
      if (performance.now() - askedAt > secondSignalMs) process.exit(1)
      return
    }
    askedAt = performance.now()
    process.stdout.write('\nstopping …\n')
    void stop(0)
  }
  process.stdout.on('error', () => {}) // whoever read our output has gone; that is no reason to stop
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)

  try {
    const { warnings } = await startEverything(options, running)
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`)
  } catch (error) {
    if (askedAt !== undefined) return
    process.stderr.write(`emberglass: ${describeStartError(error)}\n`)
    await stop(1)
  }
}

async function startEverything(options: StartOptions, running: AsyncDisposableStack): Promise<Services> {
  const asked = servicesNamed(options.only)
  const ports = portsFrom(options.portBase)
  const host = options.host ?? loopback
  const state = running.use(await openStateDirectory(options.stateDir))
  const logFile = join(state.path, 'log', 'emberglass.log')
  const destination = pino.destination({ dest: logFile, sync: false, mode: 0o600 })
  running.defer(() => destination.flushSync())
  const log = createLogger({ name: 'emberglass', level: options.logLevel }, destination)
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'unhandled rejection'))

  // The array starts in its process while this one loads the services.
  const array = options.edfNode
    ? startEdfNodeProcess({
        directory: join(state.path, 'edf'),
        dataDirectories: options.edfDataDirectory,
        host,
        ports,
        password: state.secrets.edfPassword,
        logFile: join(state.path, 'log', 'edf-node.log'),
        log,
      })
    : undefined
  const startedArray = array?.catch(() => undefined) // its failure is reported where `array` is awaited
  running.defer(async () => {
    await (await startedArray)?.[Symbol.asyncDispose]()
  })
  if (options.edfNode) await writeArrayCredentials(state, host, ports)
  const { serve } = await import('./serve.ts')
  const cinderConf = configurationFile(options.cinderConf, join(state.path, 'cinder.conf'))
  const glanceConf = configurationFile(options.glanceConf, join(state.path, 'glance-api.conf'))
  const services = running.use(
    await serve({
      state,
      services: asked,
      addresses: { host: options.host, portsAreAsked: options.portBase !== undefined, ports },
      cinderConf,
      glanceConf,
      defaults: defaultConfiguration({
        state,
        host,
        ports,
        hasCinderConf: cinderConf.length > 0,
        hasGlanceConf: glanceConf.length > 0,
        edfNode: options.edfNode,
      }),
      databaseUrl: options.database ?? `sqlite:///${join(state.path, 'emberglass.sqlite')}`,
      initiatorName: `iqn.2026-11.org.emberglass:controller-${state.instanceId}`,
      array,
      log,
    }),
  )
  if (services.identityIsHere) await writeCredentialsFiles(state, services.authUrl)
  const lines = [
    ...(services.identityIsHere ? [] : [['identity', services.authUrl]]),
    ...services.endpoints.map(({ service, url }) => [service.replace('-', ' '), url]),
    ...(options.edfNode
      ? [
          ['EDF node', `https://${host}:${ports.edfHttps}, http://${host}:${ports.edfHttp}`],
          ['iSCSI', `iscsi://${host}:${ports.iscsi}`],
        ]
      : []),
    services.identityIsHere
      ? ['credentials', `${join(state.path, 'openrc')} (for a shell), clouds.yaml, edf.env`]
      : ['credentials', "those of the Keystone above; its catalog has to name this host's services"],
    ['log', logFile],
  ]
  for (const [name, value] of lines) process.stdout.write(`  ${String(name).padEnd(14)} ${value}\n`)
  process.stdout.write(`ready in ${Math.round(performance.now())} ms\n`)
  return services
}

/** @throws Misconfigured when a file was named and is not there */
function configurationFile(named: string | undefined, usual: string): readonly string[] {
  if (named === undefined) return existsSync(usual) ? [usual] : []
  if (!existsSync(named)) throw new Misconfigured(`The configuration file ${named} does not exist.`)
  return [named]
}

async function stopEverything(running: AsyncDisposableStack, exitCode: number): Promise<never> {
  const impatient = setTimeout(() => {
    process.stderr.write(`emberglass: still not stopped after ${stopPatienceMs / 1000} s, leaving\n`)
    process.exit(1)
  }, stopPatienceMs)
  try {
    await running.disposeAsync()
    clearTimeout(impatient)
    process.exit(exitCode)
  } catch (error) {
    process.stderr.write(`emberglass: stopping failed: ${messageOf(error)}\n`)
    process.exit(1)
  }
}
