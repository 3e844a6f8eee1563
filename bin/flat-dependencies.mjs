// Makes imports of a few large dependencies find the flat copy that the installation has made of them (see
// `scripts/flatten-dependencies.mjs`). Without such copies they are loaded as they are, a little more slowly.
import { existsSync, readFileSync } from 'node:fs'
import module from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const directory = join(import.meta.dirname, '..', 'node_modules', '.cache', 'flat')
const index = join(directory, 'index.json')

if (existsSync(index)) {
  const urls = new Map(
    Object.entries(JSON.parse(readFileSync(index, 'utf8'))).map(([specifier, file]) => [
      specifier,
      pathToFileURL(join(directory, file)).href,
    ]),
  )
  module.registerHooks({
    resolve(specifier, context, nextResolve) {
      const url = urls.get(specifier)
      return url === undefined
        ? nextResolve(specifier, context)
        : { url, format: 'module', shortCircuit: true }
    },
  })
}
