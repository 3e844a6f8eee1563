// Makes one file of each dependency that is hundreds of small modules: loading those was a quarter of what a start
// costs. `bin/flat-dependencies.mjs` makes imports find the result. Run after the installation, by the machine's own Node.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** ES modules alone: those of CommonJS would lose their named exports. */
const packages = ['kysely', 'typebox']

/** @returns the file of each subpath that a package exports, by what an import says: `typebox/value` */
function exportsOf(root, name) {
  const manifest = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'))
  return Object.entries(manifest.exports).map(([subpath, target]) => [
    join(name, subpath),
    join(root, 'node_modules', name, typeof target === 'string' ? target : target.default),
  ])
}

/** Writes the files and `index.json`, which names them by what an import says, into `node_modules/.cache/flat`. */
export async function flattenDependencies(root) {
  const { build } = await import('esbuild')
  const directory = join(root, 'node_modules', '.cache', 'flat')
  const entries = packages.flatMap((name) => exportsOf(root, name))
  await build({
    entryPoints: Object.fromEntries(
      entries.map(([specifier, file]) => [specifier.replaceAll('/', '-'), file]),
    ),
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // the subpaths of a package share their modules, as before
    format: 'esm',
    platform: 'node',
    legalComments: 'inline',
    logLevel: 'warning',
  })
  const index = entries.map(([specifier]) => [specifier, `${specifier.replaceAll('/', '-')}.mjs`])
  writeFileSync(join(directory, 'index.json'), `${JSON.stringify(Object.fromEntries(index), null, 2)}\n`)
}
