// Makes `npm start` and `npm test` work on a fresh clone: installs what package-lock.json names, and
// flattens what is slow to load, once.
// Plain JavaScript, because the machine's own Node (20 or newer) runs it before ours is there.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const record = join(root, 'node_modules', '.emberglass-installed')
const manifests = [
  'package.json',
  'package-lock.json',
  'packages/iscsi/package.json',
  'packages/edf/package.json',
  'scripts/flatten-dependencies.mjs',
]

const hash = createHash('sha256')
for (const manifest of manifests) hash.update(readFileSync(join(root, manifest)))
const wanted = hash.digest('hex')

if (!existsSync(record) || readFileSync(record, 'utf8') !== wanted) {
  process.stdout.write('Installing dependencies (once) …\n')
  const npm = process.env['npm_execpath']
  const arguments_ = ['ci', '--loglevel=error', '--no-audit', '--no-fund']
  const { status, error } = npm
    ? spawnSync(process.execPath, [npm, ...arguments_], { cwd: root, stdio: 'inherit' })
    : spawnSync('npm', arguments_, { cwd: root, stdio: 'inherit' })
  if (status !== 0) {
    process.stderr.write(`npm ci failed${error ? `: ${error.message}` : ''}; see its messages above\n`)
    process.exit(1)
  }
  const flatten = join(root, 'scripts', 'flatten-dependencies.mjs')
  if (spawnSync(join(root, 'node_modules', '.bin', 'node'), [flatten], { stdio: 'inherit' }).status !== 0) {
    process.stderr.write('The dependencies could not be flattened: starting will take a little longer.\n')
  }
  writeFileSync(record, wanted)
}
