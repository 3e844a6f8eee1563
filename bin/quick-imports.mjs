// Makes imports quick: those of a few large dependencies find the flat copy that the installation has made of them (see
// `scripts/flatten-dependencies.mjs`), those of our own files by their path are not looked for. Node would ask the file
// system several questions for each. Without flat copies dependencies are loaded as they are, a little more slowly.
import { existsSync, readFileSync } from 'node:fs'
import module from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = join(import.meta.dirname, '..')
const directory = join(root, 'node_modules', '.cache', 'flat')
const index = join(directory, 'index.json')
const files = existsSync(index) ? JSON.parse(readFileSync(index, 'utf8')) : {}
const flat = new Map(
  Object.entries(files).map(([specifier, file]) => [specifier, pathToFileURL(join(directory, file)).href]),
)
const ours = ['src/', 'packages/'].map((folder) => pathToFileURL(join(root, folder)).href)

module.registerHooks({
  resolve(specifier, context, nextResolve) {
    const { parentURL = '' } = context
    if (
      specifier.startsWith('.') &&
      specifier.endsWith('.ts') &&
      ours.some((each) => parentURL.startsWith(each))
    ) {
      return { url: new URL(specifier, parentURL).href, format: 'module-typescript', shortCircuit: true }
    }
    const url = flat.get(specifier)
    return url === undefined ? nextResolve(specifier, context) : { url, format: 'module', shortCircuit: true }
  },
})
