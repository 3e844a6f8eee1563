import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'

const loader = join(import.meta.dirname, 'python-program.py')

/** What a call left when it ended. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A program written in Python that is loaded once and called often, one call after the other. */
export interface PythonProgram extends AsyncDisposable {
  /** Runs it to its end, in a process of its own. @throws Error when that takes more than `patienceMs` */
  call(argv: readonly string[], patienceMs: number): Promise<Ended>
}

/** @param name as a shell finds it: `openstack` */
export function loadPythonProgram(name: string, environment: NodeJS.ProcessEnv): PythonProgram {
  const file = fileOf(name)
  const [interpreter = '', ...flags] = interpreterOf(file)
  const python = spawn(interpreter, [...flags, loader, file], {
    env: environment,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(python, 'exit')
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]()

  async function ask(argv: readonly string[], patienceMs: number): Promise<Ended> {
    const impatient = setTimeout(() => python.kill('SIGKILL'), patienceMs)
    python.stdin.write(`${JSON.stringify(argv)}\n`)
    const { value, done } = await answers.next()
    clearTimeout(impatient)
    if (done === true) throw new Error(`${name} gave no answer, or none within ${patienceMs} ms`)
    return JSON.parse(value)
  }

  let last: Promise<unknown> = Promise.resolve()
  return {
    call(argv, patienceMs) {
      const ended = last.then(() => ask(argv, patienceMs))
      last = ended.catch(() => {})
      return ended
    },
    async [Symbol.asyncDispose]() {
      python.stdin.end()
      await exited
    },
  }
}

/** Where a shell would find a program. */
function fileOf(name: string): string {
  const found = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
  if (found === undefined) throw new Error(`${name} is not on the PATH`)
  return found
}

/** The words of a script's first line: `#! /usr/bin/python3`. */
function interpreterOf(file: string): readonly string[] {
  const line = /^#! *(.*)$/m.exec(readFileSync(file, 'latin1'))?.[1]
  if (line === undefined) throw new Error(`${file} is no script`)
  return line.trim().split(/ +/)
}
