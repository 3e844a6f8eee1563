import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cloud } from '../cli/cloud.ts'
import { tour } from '../cli/tour.ts'
import { BackendError } from '../kernel/errors.ts'
import { freePortBlock } from './free-ports.ts'

/** `emberglass tour`: through the instance of a state directory when it runs, else through one of its own. */
export async function runTour(options: { stateDir: string; own: boolean; sizeMib: number }): Promise<void> {
  const running = !options.own && (await answers(options.stateDir))
  if (running) {
    process.stdout.write(`through the running instance of ${options.stateDir}\n\n`)
    await tour(options.stateDir, options.sizeMib)
    return
  }
  process.stdout.write('through an instance of its own\n\n')
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-tour-'))
  try {
    await using _instance = await startInstance(directory)
    await tour(directory, options.sizeMib)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function answers(stateDirectory: string): Promise<boolean> {
  return Cloud.login(stateDirectory).then(
    () => true,
    () => false,
  )
}

async function startInstance(stateDirectory: string): Promise<AsyncDisposable> {
  const child = spawn(
    process.execPath,
    [
      ...process.execArgv,
      ...[
        join(import.meta.dirname, '..', '..', 'bin', 'emberglass.mjs'),
        'start',
        '--state-dir',
        stateDirectory,
      ],
      ...['--port-base', String(await freePortBlock())],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const exited = once(child, 'exit')
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      if (String(chunk).includes('ready in')) resolve()
    })
    child.once('exit', () => {
      reject(
        new BackendError('the instance for the tour did not start; see its message above', {
          left: 'nothing',
        }),
      )
    })
  })
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await exited
    },
  }
}
