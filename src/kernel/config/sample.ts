import { Secret } from '../secret.ts'
import type { Option, OptionSet } from './options.ts'

/** The options of one section, as `Config.read` is given them. */
export interface DocumentedSection {
  readonly section: string
  readonly options: OptionSet<Readonly<Record<string, unknown>>>
}

const width = 78

/**
 * The annotated configuration file, made of the same declarations that read it: every option commented out, with
 * its help, kind and default. Sections given several times are joined.
 */
export function sampleConfig(sections: readonly DocumentedSection[]): string {
  const bySection = new Map<string, Map<string, Option<unknown>>>()
  for (const { section, options } of sections) {
    const known = bySection.get(section) ?? new Map<string, Option<unknown>>()
    for (const option of Object.values(options)) known.set(option.name, option)
    bySection.set(section, known)
  }
  return [...bySection]
    .map(([section, options]) => [`[${section}]`, '', ...[...options.values()].map(describe)].join('\n'))
    .join('\n')
}

function describe(option: Option<unknown>): string {
  const lines = wrapped(`${option.help} (${option.kind}${option.required ? ', required' : ''})`)
  if (option.deprecatedNames.length > 0) lines.push(`Deprecated names: ${option.deprecatedNames.join(', ')}`)
  return `${lines.map((line) => `# ${line}`).join('\n')}\n#${option.name} = ${written(option.default)}\n`
}

/** A default as it would stand in the file. */
function written(value: unknown): string {
  if (value === undefined || value === null || value instanceof Secret) return ''
  if (Array.isArray(value)) return value.map(String).join(',')
  if (typeof value === 'object') {
    return Object.entries(value)
      .map(([key, item]) => `${key}:${String(item)}`)
      .join(',')
  }
  return String(value).replaceAll('$', '$$$$')
}

function wrapped(text: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line]
}
