#!/usr/bin/env node
// The program's entry. It is plain JavaScript for two reasons: whatever Node runs it (20 or newer) can start the one
// that the program is made for (the `node` package), and nothing has to be compiled before the compile cache is on.
import { spawn } from 'node:child_process'
import { enableCompileCache } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
// Sources of the libraries are run as they are; small young generations and few malloc arenas keep an idle process small.
const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning', '--max-semi-space-size=4']
const environment = { MALLOC_ARENA_MAX: '2', UV_THREADPOOL_SIZE: '16' }

const isSetUp =
  flags.every((flag) => process.execArgv.includes(flag)) &&
  Object.keys(environment).every((name) => process.env[name] !== undefined)

if (isSetUp) {
  enableCompileCache(join(root, 'node_modules', '.cache', 'emberglass'))
  await import('../src/main.ts')
} else {
  const node = join(root, 'node_modules', '.bin', 'node')
  const program = spawn(node, [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...environment, ...process.env },
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => program.kill(signal))
  program.on('error', (error) => {
    process.stderr.write(`${node} could not be started (${error.message}); run: npm ci\n`)
    process.exit(1)
  })
  program.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1))
}
