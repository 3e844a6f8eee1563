import { spawn } from 'node:child_process'
import type { Bytes } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Invalid, messageOf, Unsupported } from '../../../kernel/errors.ts'

/** What a program on users' data may use. */
export interface ProgramLimits {
  readonly cpuSeconds: number
  readonly memoryBytes: number
}

const filterLimits: ProgramLimits = { cpuSeconds: 4 * 3_600, memoryBytes: 1024 ** 3 }
/** What is kept of a program's complaints. */
const maxComplaint = 2_000

function start(program: string, args: readonly string[], limits: ProgramLimits, signal: AbortSignal) {
  const limited = [`--as=${limits.memoryBytes}`, `--cpu=${limits.cpuSeconds}`, '--core=0', '--', program]
  return spawn('prlimit', [...limited, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' },
  })
}

/**
 * Passes bytes through a program, from its standard input to its standard output.
 * @throws Invalid when the program does not accept them; Unsupported when it is not there
 */
export async function* filterThrough(
  program: string,
  args: readonly string[],
  source: Bytes,
  call: Call,
): Bytes {
  const leaving = new AbortController()
  const child = start(program, args, filterLimits, AbortSignal.any([call.signal, leaving.signal]))
  let complaint = ''
  child.stderr.on('data', (chunk) => {
    complaint = `${complaint}${chunk}`.slice(0, maxComplaint)
  })
  const ended = new Promise<number | undefined>((resolve) => {
    child.once('error', () => resolve(undefined))
    child.once('close', (code) => resolve(code ?? undefined))
  })
  child.stdin.on('error', () => {}) // a program that ends early says why
  let sourceFailure: { readonly error: unknown } | undefined
  const feeding = (async () => {
    try {
      for await (const chunk of source) {
        if (child.stdin.destroyed) return
        await new Promise<void>((resolve) => child.stdin.write(chunk, () => resolve()))
      }
      child.stdin.end()
    } catch (error) {
      sourceFailure = { error }
      leaving.abort(error)
    }
  })()
  try {
    yield* child.stdout
    await feeding
    const code = await ended
    call.signal.throwIfAborted()
    if (sourceFailure !== undefined) throw sourceFailure.error
    if (code === 127) throw new Unsupported(`The program ${program} is not installed.`)
    if (code !== 0)
      throw new Invalid(`The image is not well-formed ${program} data.`, { details: { complaint } })
  } catch (error) {
    call.signal.throwIfAborted()
    throw sourceFailure === undefined ? error : sourceFailure.error
  } finally {
    leaving.abort()
    await Promise.all([ended, feeding])
  }
}

/**
 * Runs a program to its end.
 * @returns its standard output, of 1 MiB at most
 * @throws Invalid when it fails; Unsupported when it is not there; the signal's reason
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  limits: ProgramLimits,
  call: Call,
): Promise<string> {
  const child = start(program, args, limits, call.signal)
  child.stdin.end()
  let output = ''
  let complaint = ''
  child.stdout.on('data', (chunk) => {
    output = `${output}${chunk}`.slice(0, 1024 * 1024)
  })
  child.stderr.on('data', (chunk) => {
    complaint = `${complaint}${chunk}`.slice(0, maxComplaint)
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  }).catch((error: unknown) => {
    call.signal.throwIfAborted()
    throw new BackendError(`The program ${program} could not be run: ${messageOf(error)}.`, {
      left: 'nothing',
      cause: error,
    })
  })
  call.signal.throwIfAborted()
  if (code === 127) throw new Unsupported(`The program ${program} is not installed.`)
  if (code !== 0) {
    throw new Invalid(`The image could not be processed by ${program}.`, { details: { code, complaint } })
  }
  return output
}
