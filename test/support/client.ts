import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Instance } from './instance.ts'
import { loadPythonProgram, type PythonProgram } from './python-program.ts'

const run = promisify(execFile)

/** What a program said when it failed. */
export class ClientError extends Error {
  readonly stderr: string

  constructor(command: string, stderr: string) {
    super(`${command}\n${stderr}`)
    this.stderr = stderr
  }
}

/** Other people's programs, with the credentials of an instance. */
export interface Client extends AsyncDisposable {
  /** Runs a program. @returns its standard output @throws ClientError */
  (program: string, ...argv: readonly string[]): Promise<string>
  /** `openstack … -f json`, parsed. */
  json<Answer>(...argv: readonly string[]): Promise<Answer>
  /** Asks `openstack volume show` (or another resource) until its status is one of `statuses`. */
  until(
    resource: readonly string[],
    name: string,
    statuses: readonly string[],
  ): Promise<Record<string, unknown>>
}

/** Programs that are loaded once for all their calls, as loading is most of what a call costs. */
const inPython = ['openstack', 'cinder', 'glance']
const commandPatienceMs = 180_000
const statusPatienceMs = 120_000

export async function clientOf(instance: Instance): Promise<Client> {
  const environment = { ...process.env, ...(await instance.environment()), PYTHONWARNINGS: 'ignore' }

  const loaded = new Map<string, PythonProgram>()

  async function callInPython(program: string, argv: readonly string[]): Promise<string> {
    const python = loaded.get(program) ?? loadPythonProgram(program, environment)
    loaded.set(program, python)
    const { code, stdout, stderr } = await python.call(argv, commandPatienceMs)
    if (code !== 0) throw new ClientError([program, ...argv].join(' '), stderr.trim())
    return stdout
  }

  async function call(program: string, ...argv: readonly string[]): Promise<string> {
    if (inPython.includes(program)) return await callInPython(program, argv)
    try {
      const { stdout } = await run(program, argv, {
        env: environment,
        timeout: commandPatienceMs,
        maxBuffer: 64 * 1024 * 1024,
      })
      return stdout
    } catch (error) {
      const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error)
      throw new ClientError([program, ...argv].join(' '), stderr.trim())
    }
  }

  async function json<Answer>(...argv: readonly string[]): Promise<Answer> {
    return JSON.parse(await call('openstack', ...argv, '-f', 'json')) as Answer
  }

  async function until(resource: readonly string[], name: string, statuses: readonly string[]) {
    const deadline = Date.now() + statusPatienceMs
    for (;;) {
      const shown = await json<Record<string, unknown>>(...resource, 'show', name)
      if (statuses.includes(String(shown['status']))) return shown
      if (Date.now() > deadline || String(shown['status']).startsWith('error')) {
        throw new Error(`${resource.join(' ')} ${name} is ${shown['status']}, not ${statuses.join(' or ')}`)
      }
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }

  async function dispose() {
    for (const program of loaded.values()) await program[Symbol.asyncDispose]()
  }

  return Object.assign(call, { json, until, [Symbol.asyncDispose]: dispose })
}
