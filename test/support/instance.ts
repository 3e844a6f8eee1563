import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePortBlock } from '../../src/main/free-ports.ts'

const root = join(import.meta.dirname, '..', '..')
const readyPatienceMs = 60_000
const stopPatienceMs = 30_000

/** A whole Emberglass in processes of its own, as `npm start` runs it. */
export interface Instance extends AsyncDisposable {
  readonly portBase: number
  readonly stateDirectory: string
  /** Of the controller. */
  readonly pid: number
  /** Everything it has printed. */
  readonly output: () => string
  /** Milliseconds that it said it took. */
  readonly readyMs: number
  /** The variables of `openrc`. */
  environment(): Promise<Record<string, string>>
  /** The process id of the embedded EDF node. */
  edfNodePid(): Promise<number>
  /** SIGTERM, and waits. @returns the exit code */
  stop(): Promise<number | null>
  /** SIGKILL to the controller, and waits. */
  kill(): Promise<void>
}

/** Starts an instance and waits until it says that it is ready. @throws Error with its output when it does not */
export async function startInstance(options: {
  stateDirectory: string
  portBase?: number
  /** `serve` runs the services that `arguments` name, and no array. */
  command?: 'start' | 'serve'
  arguments?: readonly string[]
}): Promise<Instance> {
  const portBase = options.portBase ?? (await freePortBlock())
  const child = launch([
    options.command ?? 'start',
    ...['--state-dir', options.stateDirectory],
    ...['--port-base', String(portBase)],
    ...(options.arguments ?? []),
  ])
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += chunk
  })
  child.stderr?.on('data', (chunk) => {
    output += chunk
  })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  const readyMs = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`not ready after ${readyPatienceMs} ms:\n${output}`))
    }, readyPatienceMs)
    child.stdout?.on('data', () => {
      const ready = /ready in (\d+) ms/.exec(output)
      if (ready === null) return
      clearTimeout(timer)
      resolve(Number(ready[1]))
    })
    void exited.then((code) => {
      clearTimeout(timer)
      reject(new Error(`ended with code ${code} before it was ready:\n${output}`))
    })
  })

  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      const impatient = setTimeout(() => child.kill('SIGKILL'), stopPatienceMs)
      await exited
      clearTimeout(impatient)
    }
    return child.exitCode
  }
  return {
    portBase,
    stateDirectory: options.stateDirectory,
    pid: child.pid ?? 0,
    output: () => output,
    readyMs,
    async environment() {
      const text = await readFile(join(options.stateDirectory, 'openrc'), 'utf8')
      return Object.fromEntries(
        [...text.matchAll(/^export (\w+)='(.*)'$/gm)].map((match) => [match[1], match[2]]),
      )
    },
    async edfNodePid() {
      const deadline = Date.now() + readyPatienceMs
      while (Date.now() < deadline) {
        const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
        const pid = Number(children.trim().split(' ')[0])
        if (pid > 0) return pid // while it is started again there is none
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      throw new Error('the EDF node has no process')
    },
    stop,
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    [Symbol.asyncDispose]: async () => {
      await stop()
    },
  }
}

/** Runs `emberglass` with arguments to its end. */
export async function runEmberglass(
  argv: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = launch(argv)
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

function launch(argv: readonly string[]): ChildProcess {
  return spawn(process.execPath, [join(root, 'bin', 'emberglass.mjs'), ...argv], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  })
}
