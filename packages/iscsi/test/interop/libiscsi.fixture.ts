/** Runs other people's iSCSI programs against a target of ours. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

export interface Ran {
  /** Undefined when it was killed. */
  readonly code: number | null
  readonly output: string
}

/** Runs a program, at most `timeoutMs` long. Standard output and error come together. */
export async function run(command: string, args: readonly string[], timeoutMs = 30_000): Promise<Ran> {
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1')
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1')
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    return { code, output }
  } finally {
    clearTimeout(timer)
  }
}

/** A reason to skip a test when a program is not installed; false when it is. */
export function missing(program: string, debianPackage: string): string | false {
  const found = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/${program}`))
  return found ? false : `${program} is not installed (Debian package ${debianPackage})`
}

export interface Verdict {
  readonly name: string
  readonly result: 'passed' | 'skipped' | 'failed'
  readonly output: string
}

/**
 * One test of iscsi-test-cu, in a process of its own: the tests disturb each other's session.
 * @param urls of one LUN; for the tests of several paths more than one
 */
export async function suiteTest(name: string, ...urls: readonly string[]): Promise<Verdict> {
  const options = ['--dataloss', '--allow-sanitize', '--ignore', '--verbose']
  const { code, output } = await run('iscsi-test-cu', [...options, '-t', name, ...urls], 60_000)
  // "asserts <total> <ran> <passed> <failed>": a run that never got to its test has no such line.
  const asserts = /asserts\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/.exec(output)
  const passed = code === 0 && asserts?.[4] === '0'
  const skipped = output.includes('[SKIPPED]')
  return { name, result: passed ? (skipped ? 'skipped' : 'passed') : 'failed', output }
}

/** Names of all tests of the suite, as Family.Suite.Test. */
export async function suiteTestNames(): Promise<string[]> {
  const { output } = await run('iscsi-test-cu', ['--list', 'iscsi://127.0.0.1/iqn.2026-01.test:none/0'])
  return output.split('\n').filter((line) => /^(?:SCSI|iSCSI)\.[^.\s]+\.[^.\s]+$/.test(line))
}
