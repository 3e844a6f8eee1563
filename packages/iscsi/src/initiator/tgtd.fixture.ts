import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import {
  REAL_DISK_BYTES,
  type RealTarget,
  type RealTargetKind,
  type RealTargetOptions,
} from './disk.conformance.ts'

const run = promisify(execFile)
const targetName = 'iqn.2026-01.test:tgtd'

async function whyNot(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'tgtd needs root'
  try {
    await run('tgtadm', ['--version'])
    return undefined
  } catch {
    return 'tgtd is not installed (Debian package tgt)'
  }
}

/** For measurements. */
export interface TgtdOptions extends RealTargetOptions {
  /** Negotiates what our target does: large segments and first bursts, no R2T for those. */
  readonly tuned?: boolean
  readonly sizeBytes?: number
}

export interface Tgtd extends RealTarget {
  readonly pid: number
}

export interface TgtdKind extends RealTargetKind {
  start(options: TgtdOptions): Promise<Tgtd>
}

/** The Linux SCSI target framework in user space, as Debian has it. */
export async function tgtdKind(): Promise<TgtdKind> {
  return { name: 'tgtd', skip: await whyNot(), digests: true, thin: false, remembersNexus: false, start }
}

const tuning = {
  MaxRecvDataSegmentLength: '262144',
  MaxXmitDataSegmentLength: '262144',
  FirstBurstLength: '262144',
  MaxBurstLength: '1048576',
  InitialR2T: 'No',
  ImmediateData: 'Yes',
}

let nextControlPort = 2000 + (process.pid % 20_000)

async function start(options: TgtdOptions): Promise<Tgtd> {
  const directory = await mkdtemp(join(tmpdir(), 'tgtd-'))
  const image = join(directory, 'disk')
  await writeFile(image, '')
  await truncate(image, options.sizeBytes ?? REAL_DISK_BYTES)
  const port = await freePort()
  nextControlPort += 1
  const control = String(nextControlPort)
  const daemon = spawn('tgtd', ['-f', '-C', control, '--iscsi', `portal=127.0.0.1:${port}`], {
    stdio: 'ignore',
  })
  const admin = (mode: string, op: string, ...rest: string[]) =>
    run('tgtadm', ['-C', control, '--lld', 'iscsi', '--mode', mode, '--op', op, ...rest], { timeout: 10_000 })
  const stop = async () => {
    await end(daemon)
    // tgtd leaves these behind when it is killed.
    for (const name of [`socket.${control}`, `socket.${control}.lock`]) {
      await rm(join('/var/run/tgtd', name), { force: true })
    }
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await untilReady(() => admin('sys', 'show'))
    await admin('target', 'new', '--tid', '1', '-T', targetName)
    await admin('logicalunit', 'new', '--tid', '1', '--lun', '1', '-b', image)
    await admin('target', 'bind', '--tid', '1', '-I', 'ALL')
    for (const [name, value] of options.tuned === true ? Object.entries(tuning) : []) {
      await admin('target', 'update', '--tid', '1', '--name', name, '--value', value)
    }
    if (options.digests === true) {
      await admin('target', 'update', '--tid', '1', '--name', 'HeaderDigest', '--value', 'CRC32C,None')
      await admin('target', 'update', '--tid', '1', '--name', 'DataDigest', '--value', 'CRC32C,None')
    }
    if (options.chap !== undefined) {
      const { username, password, mutual } = options.chap
      await admin('account', 'new', '--user', username, '--password', password)
      await admin('account', 'bind', '--tid', '1', '--user', username)
      if (mutual !== undefined) {
        await admin('account', 'new', '--user', mutual.username, '--password', mutual.password)
        await admin('account', 'bind', '--tid', '1', '--user', mutual.username, '--outgoing')
      }
    }
  } catch (error) {
    await stop()
    throw error
  }
  return { port, targetName, lun: 1, pid: daemon.pid ?? 0, [Symbol.asyncDispose]: stop }
}

async function untilReady(ask: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await ask()
      return
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(50)
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exited
}
