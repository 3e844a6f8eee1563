import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Misconfigured, messageOf } from '../errors.ts'
import { type IniEntry, type IniProblem, type Position, parseIni } from './ini.ts'
import { nearest } from './nearest.ts'
import type { Option, OptionSet } from './options.ts'
import { substitute } from './substitute.ts'

export interface ConfigSources {
  /** In order, later ones win; a directory stands for its `*.conf` files in alphabetical order. */
  readonly files: readonly string[]
  /** By section and option; weaker than any file. For what runs without a file, and for `$name` references. */
  readonly defaults?: Readonly<Record<string, Readonly<Record<string, string>>>>
}

export interface Config {
  /** Where relative names of other files begin: the directories of the configuration files, in order. */
  readonly directories: readonly string[]
  /** Names of all sections, as first written, in order. */
  sections(): readonly string[]
  /** Is there such a section, even an empty one? */
  has(section: string): boolean
  /**
   * The typed values of a section. Wrong values become the option's default and a problem that `check` reports.
   * @param inherit sections to look in, in order, for what the section itself does not set:
   *   `['backend_defaults']` for Cinder's backends
   */
  read<Settings>(section: string, options: OptionSet<Settings>, inherit?: readonly string[]): Settings
  /**
   * Call it when everything has been read.
   * @returns what does not stop the service: names that nobody reads, deprecated names
   * @throws Misconfigured whose message lists every problem with file and line
   */
  check(): { readonly warnings: readonly string[] }
}

/**
 * Reads configuration files in oslo.config's format. Never rejects for what is wrong in them, or for a missing
 * file: `Config.check` reports everything at once.
 */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const problems: string[] = []
  const files: { path: string; text: string }[] = []
  for (const source of sources.files) {
    try {
      for (const path of await filesOf(source)) {
        const bytes = await readFile(path)
        files.push({ path, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) })
      }
    } catch (error) {
      problems.push(`${source}: cannot be read: ${messageOf(error)}`)
    }
  }
  const parsed = files.map((file) => parseIni(file.text, file.path))
  return new LoadedConfig(
    [
      ...parsed.flatMap((file) => file.sections),
      ...Object.keys(sources.defaults ?? {}).map((name) => ({ name, file: 'defaults', line: 0 })),
    ],
    parsed.flatMap((file) => file.entries),
    Object.entries(sources.defaults ?? {}).flatMap(([section, options]) =>
      Object.entries(options).map(([name, value]) => ({ section, name, value, file: 'defaults', line: 0 })),
    ),
    [...problems, ...parsed.flatMap((file) => file.problems).map(describeProblem)],
    [...new Set(files.map((file) => dirname(resolve(file.path))))],
  )
}

async function filesOf(source: string): Promise<readonly string[]> {
  if (!(await stat(source)).isDirectory()) return [source]
  const names = await readdir(source)
  return names
    .filter((name) => name.endsWith('.conf'))
    .sort()
    .map((name) => join(source, name))
}

/** The values that one option has in the files, and by which of its names they were found. */
interface Found {
  readonly entries: readonly IniEntry[]
  readonly section: string
}

class LoadedConfig implements Config {
  readonly directories: readonly string[]
  /** By normalised name. */
  readonly #sections = new Map<string, Position & { name: string }>()
  readonly #fromFiles = new Map<string, IniEntry[]>()
  readonly #fromDefaults = new Map<string, IniEntry[]>()
  readonly #problems = new Set<string>()
  readonly #warnings = new Set<string>()
  /** Declared options by section and name: the known ones, and the defaults that references may need. */
  readonly #declared = new Map<string, Map<string, Option<unknown>>>()

  constructor(
    sections: readonly (Position & { name: string })[],
    entries: readonly IniEntry[],
    defaults: readonly IniEntry[],
    problems: readonly string[],
    directories: readonly string[],
  ) {
    this.directories = directories
    for (const section of sections) {
      const key = normalSection(section.name)
      if (!this.#sections.has(key)) this.#sections.set(key, section)
    }
    for (const entry of entries) append(this.#fromFiles, address(entry.section, entry.name), entry)
    for (const entry of defaults) append(this.#fromDefaults, address(entry.section, entry.name), entry)
    for (const problem of problems) this.#problems.add(problem)
  }

  sections(): readonly string[] {
    return [...this.#sections.values()].map((section) => section.name)
  }

  has(section: string): boolean {
    return this.#sections.has(normalSection(section))
  }

  read<Settings>(section: string, options: OptionSet<Settings>, inherit: readonly string[] = []): Settings {
    const searched = [section, ...inherit]
    const settings: Partial<Settings> = {}
    for (const key of Object.keys(options) as (keyof Settings)[]) {
      for (const name of searched) this.#declare(name, options[key])
    }
    for (const key of Object.keys(options) as (keyof Settings)[]) {
      settings[key] = this.#valueOf(searched, options[key])
    }
    return settings as Settings // every key of the set has been assigned
  }

  check(): { readonly warnings: readonly string[] } {
    if (this.#problems.size > 0) {
      const problems = [...this.#problems]
      const head = problems.length === 1 ? 'the configuration is wrong' : `${problems.length} problems`
      throw new Misconfigured(`${head}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`, {
        details: { problems },
      })
    }
    return { warnings: [...this.#warnings, ...this.#unknownNames(), ...this.#misspeltSections()] }
  }

  #declare(section: string, option: Option<unknown>): void {
    const key = normalSection(section)
    let names = this.#declared.get(key)
    if (names === undefined) {
      names = new Map()
      this.#declared.set(key, names)
    }
    names.set(option.name, option)
  }

  #valueOf<Value>(sections: readonly string[], option: Option<Value>): Value {
    const found = this.#find(sections, option)
    if (found === undefined) {
      if (option.required) this.#problems.add(`[${sections[0]}] ${option.name} must be set: ${option.help}`)
      return option.default
    }
    const used = option.multiple ? found.entries : found.entries.slice(-1)
    const values: Value[] = []
    for (const entry of used) {
      try {
        const text = substitute(entry.value, (name) => this.#reference(found.section, name, [entry]))
        if (text === '' && emptyMeansUnset(option)) continue
        values.push(option.parse(text))
      } catch (error) {
        // what a secret refers to may be a part of it that somebody forgot to escape
        const message =
          option.kind === 'secret'
            ? 'refers to something that is not set; a plain dollar sign is written $$'
            : messageOf(error)
        this.#problems.add(`${describe(entry)}: [${entry.section}] ${entry.name}: ${message}`)
      }
    }
    if (option.multiple) return values.flat() as Value // a multiple option's value is a list, and so is each part
    return values[0] ?? option.default
  }

  /** Files before defaults, the section before those it inherits from, the present name before older ones. */
  #find(sections: readonly string[], option: Option<unknown>): Found | undefined {
    for (const source of [this.#fromFiles, this.#fromDefaults]) {
      for (const section of sections) {
        const entries = source.get(address(section, option.name))
        if (entries !== undefined) return { entries, section }
        for (const old of option.deprecatedNames) {
          const slash = old.indexOf('/')
          const [oldSection, oldName] =
            slash < 0 ? [section, old] : [old.slice(0, slash), old.slice(slash + 1)]
          const oldEntries = source.get(address(oldSection, oldName))
          const first = oldEntries?.[0]
          if (oldEntries === undefined || first === undefined) continue
          this.#warnings.add(
            `${describe(first)}: [${oldSection}] ${oldName} is deprecated: use [${section}] ${option.name}`,
          )
          return { entries: oldEntries, section: oldSection }
        }
      }
    }
    return undefined
  }

  /** What `$name` in a value of `section` stands for. */
  #reference(section: string, name: string, path: readonly IniEntry[]): string | undefined {
    const dot = name.indexOf('.')
    const candidates =
      dot < 0
        ? [address(section, name), address('DEFAULT', name)]
        : [address(name.slice(0, dot), name.slice(dot + 1)), address('DEFAULT', name)]
    for (const source of [this.#fromFiles, this.#fromDefaults]) {
      for (const candidate of candidates) {
        const entry = source.get(candidate)?.at(-1)
        if (entry === undefined) continue
        if (path.includes(entry)) throw new Misconfigured(`refers to itself through $${name}`)
        return substitute(entry.value, (next) => this.#reference(entry.section, next, [...path, entry]))
      }
    }
    for (const candidate of candidates) {
      const [inSection = '', optionName = ''] = candidate.split('\n')
      const declared = this.#declared.get(inSection)?.get(optionName)?.default
      if (typeof declared === 'string' || typeof declared === 'number') return String(declared)
    }
    return undefined
  }

  /** Names in sections that somebody reads, which nobody declared. Each once, however often it stands there. */
  #unknownNames(): readonly string[] {
    const warnings: string[] = []
    for (const entries of this.#fromFiles.values()) {
      const entry = entries[0]
      if (entry === undefined) continue
      const declared = this.#declared.get(normalSection(entry.section))
      if (declared === undefined) continue
      const name = normalName(entry.name)
      const options = [...declared.values()]
      if (declared.has(name) || this.#isDeprecatedName(entry.section, name)) continue
      const guess = nearest(name, options.map((option) => option.name)) // biome-ignore format: one thought
      warnings.push(
        `${describe(entry)}: [${entry.section}] ${entry.name} is not read and has no effect${
          guess === undefined ? '' : `; did you mean ${guess}?`
        }`,
      )
    }
    return warnings
  }

  #isDeprecatedName(section: string, name: string): boolean {
    for (const [declaredIn, options] of this.#declared) {
      for (const option of options.values()) {
        for (const old of option.deprecatedNames) {
          if (address(section, name) === (old.includes('/') ? oldAddress(old) : address(declaredIn, old)))
            return true
        }
      }
    }
    return false
  }

  /** Sections nobody reads are other programs' or unused backends; those that look like one we read warn. */
  #misspeltSections(): readonly string[] {
    const read = [...this.#declared.keys()]
    const letters = (name: string) => name.replace(/[^a-z]/gi, '').toLowerCase()
    const warnings: string[] = []
    for (const [key, section] of this.#sections) {
      if (this.#declared.has(key) || section.line === 0) continue
      const guess = nearest(key, read)
      if (guess === undefined || letters(guess) === letters(key)) continue // backend-1 beside backend-2
      warnings.push(`${describe(section)}: section [${section.name}] is not read; did you mean [${guess}]?`)
    }
    return warnings
  }
}

/** oslo compares group names without regard to case, except that of DEFAULT. */
function normalSection(name: string): string {
  return name === 'DEFAULT' ? name : name.toLowerCase()
}

/** `use-ssl` is `use_ssl`. */
function normalName(name: string): string {
  return name.replaceAll('-', '_')
}

function address(section: string, name: string): string {
  return `${normalSection(section)}\n${normalName(name)}`
}

function oldAddress(old: string): string {
  const slash = old.indexOf('/')
  return address(old.slice(0, slash), old.slice(slash + 1))
}

/** For a number or one of a few words, nothing after the `=` means the default. */
function emptyMeansUnset(option: Option<unknown>): boolean {
  return (
    typeof option.default === 'number' || typeof option.default === 'boolean' || option.kind.includes('|')
  )
}

function describe(position: Position): string {
  return position.line === 0 ? position.file : `${position.file}:${position.line}`
}

function describeProblem(problem: IniProblem): string {
  return `${describe(problem)}: ${problem.message}`
}

function append(map: Map<string, IniEntry[]>, key: string, entry: IniEntry): void {
  const entries = map.get(key)
  if (entries === undefined) map.set(key, [entry])
  else entries.push(entry)
}
