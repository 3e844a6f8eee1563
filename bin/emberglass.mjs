#!/usr/bin/env node
// `npx emberglass …`: runs the program with the Node it is made for (the `node` package), whatever Node runs this.
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const node = join(root, 'node_modules', '.bin', 'node')
const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning']
const program = spawn(node, [...flags, join(root, 'src', 'main.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { UV_THREADPOOL_SIZE: '16', ...process.env },
})

const forward = (signal) => program.kill(signal)
process.on('SIGINT', forward)
process.on('SIGTERM', forward)
program.on('error', (error) => {
  process.stderr.write(`${node} could not be started (${error.message}); run: npm ci\n`)
  process.exit(1)
})
program.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 1))
