#!/usr/bin/env node
// The program's entry. It is plain JavaScript for two reasons: whatever Node runs it (20 or newer) can start the one
// that the program is made for (the `node` package), and nothing has to be compiled before the compile cache is on.
import { spawn } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import module from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const node = join(root, 'node_modules', '.bin', 'node')
// The libraries' sources are run as they are; a small young generation keeps an idle process small. The array's is larger:
// pages of long lists would outlive a small one, and stay.
const youngMiB = process.argv[2] === 'edf-node' ? 16 : 4
const flags = [
  '--conditions=source',
  '--disable-warning=ExperimentalWarning',
  `--max-semi-space-size=${youngMiB}`,
]
const environment = {
  MALLOC_ARENA_MAX: '2', // few arenas, and large blocks given back at once: hashing a password takes 32 MiB
  MALLOC_MMAP_THRESHOLD_: String(1024 * 1024),
  UV_THREADPOOL_SIZE: '16',
}

// Without the first flag nothing runs; whoever starts Node with it has chosen the rest as well.
const isSetUp = process.execArgv.includes('--conditions=source')

if (isSetUp) {
  module.enableCompileCache(join(root, 'node_modules', '.cache', 'emberglass'))
  await import('./quick-imports.mjs')
  await import('../src/main.ts')
} else if (!existsSync(node)) {
  process.stderr.write('emberglass: its dependencies are not installed; run: npm ci\n')
  process.exit(1)
} else {
  const argv = [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const env = { ...environment, ...process.env }
  if (process.execve !== undefined && process.send === undefined) {
    process.execve(realpathSync(node), [node, ...argv], env) // becomes that process: same id, same terminal
  }
  const program = spawn(node, argv, { stdio: 'inherit', env })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => program.kill(signal))
  program.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1))
}
