import { type ChildProcess, spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { DataDirectory } from '@emberglass/edf/node'
import { BackendError, Misconfigured } from '../kernel/errors.ts'
import type { Logger } from '../kernel/log.ts'
import type { Secret } from '../kernel/secret.ts'
import type { Ports } from './ports.ts'

/** What the node's process tells the one that started it. */
export type NodeMessage = { readonly ready: true } | { readonly failed: string }

/** The variable that hands the node its admin password, out of sight of `ps`. */
export const passwordVariable = 'EMBERGLASS_EDF_PASSWORD'

/** As `bin/emberglass.mjs` gives it to an array of its own; the last such option counts. */
const youngGeneration = '--max-semi-space-size=16'
const startPatienceMs = 30_000
const stopPatienceMs = 10_000
/** Pauses before the first, second… restart after a crash, in milliseconds; the last one repeats. */
const restartPauses = [100, 500, 2_000, 10_000]
/** A node that served this long does not crash in a circle: the next restart starts with the shortest pause. */
const healthyAfterMs = 3_000

/** The embedded array in a process of its own, started again when it dies. */
export interface EdfNodeProcess extends AsyncDisposable {
  /** Of the process that runs now. */
  readonly pid: number | undefined
}

/**
 * Starts the node and resolves when it answers.
 * @throws Misconfigured with the node's own sentence when it cannot start
 */
export async function startEdfNodeProcess(options: {
  directory: string
  dataDirectories?: readonly DataDirectory[] | undefined
  host: string
  ports: Ports
  password: Secret
  logFile: string
  log: Logger
}): Promise<EdfNodeProcess> {
  const { log } = options
  let child: ChildProcess | undefined
  let stopping = false
  let crashes = 0
  let restart: NodeJS.Timeout | undefined

  async function launch(): Promise<void> {
    const logFile = await open(options.logFile, 'a', 0o600)
    const started = spawn(
      process.execPath,
      [...process.execArgv, youngGeneration, ...nodeArguments(options)],
      {
        stdio: ['ignore', logFile.fd, logFile.fd, 'ipc'],
        env: { ...process.env, [passwordVariable]: options.password.reveal() },
      },
    )
    child = started
    // Listening from the first moment: a process may die at any.
    const exited = new Promise<[number | null, string | null]>((resolve) => {
      started.once('exit', (code, signal) => resolve([code, signal]))
    })
    await Promise.all([answer(started), logFile.close()])
    const readyAt = performance.now()
    void exited.then(([code, signal]) => {
      child = undefined
      if (stopping) return
      if (performance.now() - readyAt > healthyAfterMs) crashes = 0
      const pauseMs = nextPause()
      log.error({ code, signal, pauseMs }, 'the EDF node has died; it is started again')
      restart = setTimeout(relaunch, pauseMs)
    })
  }

  function nextPause(): number {
    const pause = restartPauses[Math.min(crashes, restartPauses.length - 1)] ?? 0
    crashes += 1
    return pause
  }

  function relaunch(): void {
    launch().catch((error: unknown) => {
      if (stopping) return
      const pauseMs = nextPause()
      log.error({ err: error, pauseMs }, 'the EDF node could not be started again; it is tried again')
      restart = setTimeout(relaunch, pauseMs)
    })
  }

  await launch()
  return {
    get pid() {
      return child?.pid
    },
    async [Symbol.asyncDispose]() {
      stopping = true
      clearTimeout(restart)
      const last = child
      if (last === undefined || last.exitCode !== null || last.signalCode !== null) return
      const exited = new Promise((resolve) => last.once('exit', resolve))
      last.kill('SIGTERM')
      const impatient = setTimeout(() => last.kill('SIGKILL'), stopPatienceMs)
      await exited
      clearTimeout(impatient)
    },
  }
}

function nodeArguments(options: {
  directory: string
  dataDirectories?: readonly DataDirectory[] | undefined
  host: string
  ports: Ports
}): string[] {
  const data = options.dataDirectories ?? []
  return [
    join(import.meta.dirname, '..', '..', 'bin', 'emberglass.mjs'),
    'edf-node',
    ...['--directory', options.directory],
    ...data.flatMap(({ media, path }) => ['--data-directory', `${media}:${path}`]),
    ...['--host', options.host],
    ...['--http-port', String(options.ports.edfHttp)],
    ...['--https-port', String(options.ports.edfHttps)],
    ...['--iscsi-port', String(options.ports.iscsi)],
  ]
}

/** Waits for the child's first message. @throws Misconfigured or BackendError when it is bad news, or none comes */
function answer(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      settle(
        new BackendError(`the EDF node did not start within ${startPatienceMs / 1000} s`, {
          left: 'nothing',
        }),
      )
    }, startPatienceMs)
    const onMessage = (message: NodeMessage) => {
      settle('failed' in message ? new Misconfigured(message.failed) : undefined)
    }
    const onError = (error: Error) => settle(error)
    const onExit = (code: number | null, signal: string | null) => {
      settle(
        new BackendError(
          `the EDF node ended while starting (${signal ?? `exit code ${code}`}); see its log`,
          {
            left: 'nothing',
          },
        ),
      )
    }
    const settle = (error: Error | undefined) => {
      clearTimeout(timer)
      child.off('message', onMessage)
      child.off('error', onError)
      child.off('exit', onExit)
      if (error === undefined) resolve()
      else reject(error)
    }
    child.on('message', onMessage)
    child.on('error', onError)
    child.on('exit', onExit)
  })
}
