// Makes one file of each dependency that is dozens or hundreds of small modules: loading those was half of what a
// start costs. `bin/quick-imports.mjs` makes imports find the result. Run after the installation, by the Node
// that has been installed.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '..')
const modules = join(root, 'node_modules')
const directory = join(modules, '.cache', 'flat')
const entries = join(modules, '.cache', 'flat-entries')

/** Those written as ES modules, with every subpath that they export. */
const esModules = ['kysely', 'typebox']
/** Those of CommonJS. */
const commonJs = ['@fastify/ajv-compiler', 'fastify', 'pino', 'undici', 'yaml']

const fileOf = (specifier) => specifier.replaceAll('/', '-')

/** @returns the file of each subpath that a package exports, by what an import says: `typebox/value` */
function exportsOf(name) {
  const manifest = JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8'))
  return Object.entries(manifest.exports).map(([subpath, target]) => [
    join(name, subpath),
    join(modules, name, typeof target === 'string' ? target : target.default),
  ])
}

/** Writes a module that exports what Node finds in one of CommonJS, name by name. */
async function entryOf(name) {
  const names = Object.keys(await import(name)).filter(
    (each) => !['default', 'module.exports'].includes(each),
  )
  const file = join(entries, `${fileOf(name)}.mjs`)
  writeFileSync(
    file,
    `import whole from '${name}'\nexport default whole\nexport const { ${names.join(', ')} } = whole\n`,
  )
  return [name, file]
}

for (const each of [directory, entries]) {
  rmSync(each, { recursive: true, force: true })
  mkdirSync(each, { recursive: true })
}
const all = [...esModules.flatMap(exportsOf), ...(await Promise.all(commonJs.map(entryOf)))]
await build({
  entryPoints: Object.fromEntries(all.map(([specifier, file]) => [fileOf(specifier), file])),
  outdir: directory,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true, // what packages, and subpaths of one, share, they share as before
  format: 'esm',
  platform: 'node',
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)",
  },
  legalComments: 'inline',
  logLevel: 'warning',
})
const index = all.map(([specifier]) => [specifier, `${fileOf(specifier)}.mjs`])
writeFileSync(join(directory, 'index.json'), `${JSON.stringify(Object.fromEntries(index), null, 2)}\n`)
