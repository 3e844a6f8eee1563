import { readdir, readFile, stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { parse } from 'yaml'
import type { Config } from '../config/config.ts'
import { boolean, multiple, text } from '../config/options.ts'
import { Misconfigured, messageOf } from '../errors.ts'

const options = {
  policyFile: text('policy_file', {
    help: 'Rules that replace the defaults, YAML or JSON. A relative name begins where this file is.',
    default: 'policy.yaml',
  }),
  policyDirs: multiple('policy_dirs', {
    help: 'Directories of further files with rules, read in alphabetical order; later rules win.',
    default: ['policy.d'],
  }),
  enforceNewDefaults: boolean('enforce_new_defaults', {
    help: 'Readers only read. Without it every role in a project may also change what is in it, as of old.',
    default: true,
  }),
} as const

/** Rules by name, as an operator wrote them. */
export type PolicyOverrides = Readonly<Record<string, string>>

/** The `[oslo_policy]` section of a service, and the files it names. They are read again when they change. */
export class PolicyFiles {
  readonly enforceNewDefaults: boolean
  readonly #candidates: readonly string[]
  #read = ''

  constructor(config: Config) {
    const settings = config.read('oslo_policy', options)
    this.enforceNewDefaults = settings.enforceNewDefaults
    const near = (path: string) =>
      isAbsolute(path) ? [path] : config.directories.map((directory) => join(directory, path))
    this.#candidates = [settings.policyFile, ...settings.policyDirs].flatMap(near)
  }

  /**
   * What the files say now; nothing when there are none.
   * @returns undefined when no file has changed since the last time
   * @throws Misconfigured for a file that cannot be read
   */
  async changed(): Promise<PolicyOverrides | undefined> {
    const files = (await Promise.all(this.#candidates.map(filesOf))).flat()
    const stamp = files.map(({ path, modified }) => `${path} ${modified}`).join('\n')
    if (stamp === this.#read && this.#read !== '') return undefined
    const before = this.#read
    this.#read = stamp
    if (files.length === 0) return before === '' ? undefined : {}
    const parts = await Promise.all(files.map(({ path }) => readRules(path)))
    return Object.assign({}, ...parts)
  }
}

interface FoundFile {
  readonly path: string
  /** Milliseconds and size: a change of either is a change. */
  readonly modified: string
}

/** The file itself, the files of a directory, or nothing when there is neither. */
async function filesOf(path: string): Promise<readonly FoundFile[]> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return []
  if (!found.isDirectory()) return [{ path, modified: `${found.mtimeMs} ${found.size}` }]
  const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort()
  return (await Promise.all(names.map((name) => filesOf(join(path, name))))).flat()
}

async function readRules(path: string): Promise<PolicyOverrides> {
  let content: unknown
  try {
    content = parse(await readFile(path, 'utf8')) // JSON is YAML too
  } catch (error) {
    throw new Misconfigured(`The policy file ${path} cannot be read: ${messageOf(error)}`)
  }
  if (content === null || content === undefined) return {}
  if (typeof content !== 'object' || Array.isArray(content)) {
    throw new Misconfigured(`The policy file ${path} is not a map of rules.`)
  }
  return Object.fromEntries(
    Object.entries(content).map(([name, rule]) => {
      const written = ruleText(rule)
      if (written === undefined) {
        throw new Misconfigured(`The rule ${name} in the policy file ${path} is not text.`)
      }
      return [name, written]
    }),
  )
}

/** A rule, or the older list of lists: alternatives of checks that must all hold. */
function ruleText(rule: unknown): string | undefined {
  if (typeof rule === 'string') return rule
  if (!Array.isArray(rule)) return undefined
  const alternatives = rule.map((checks: unknown) =>
    Array.isArray(checks) ? checks.join(' and ') : `${checks}`,
  )
  return alternatives.map((checks) => `(${checks})`).join(' or ')
}
