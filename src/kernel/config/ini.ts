/** Where something stands: `cinder.conf:12`. */
export interface Position {
  readonly file: string
  /** The first line is 1. */
  readonly line: number
}

export interface IniEntry extends Position {
  readonly section: string
  readonly name: string
  /** As in the file, continuation lines joined with newlines; nothing substituted. */
  readonly value: string
}

export interface IniProblem extends Position {
  readonly message: string
}

export interface IniFile {
  /** In the order of their first appearance. */
  readonly sections: readonly (Position & { readonly name: string })[]
  /** In the order of the file, repeated names included. */
  readonly entries: readonly IniEntry[]
  readonly problems: readonly IniProblem[]
}

/**
 * Reads the dialect of oslo.config, which is not that of other INI readers: `#` and `;` begin a comment only at
 * the beginning of a line, a line that begins with white space continues the value above it, `=` or `:`
 * (whichever comes first) ends the name, one pair of quotes round a whole value is removed, a name may be
 * repeated, and a section's name is everything between the brackets.
 *
 * Never throws: every line that is wrong becomes a problem, and reading goes on. A problem quotes at most the
 * first word of its line, because the rest may be a secret.
 * @see oslo_config/iniparser.py
 */
export function parseIni(text: string, file: string): IniFile {
  const sections = new Map<string, Position & { name: string }>()
  const entries: IniEntry[] = []
  const problems: IniProblem[] = []
  let section: string | undefined
  let open: { name: string; values: string[]; line: number } | undefined
  let skipContinuation = false

  const close = () => {
    if (open !== undefined && section !== undefined) {
      entries.push({ section, name: open.name, value: open.values.join('\n'), file, line: open.line })
    }
    open = undefined
  }

  for (const [index, raw] of text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    const line = index + 1
    const content = raw.trimEnd()
    const problem = (message: string) => {
      problems.push({ file, line, message })
      skipContinuation = true
    }
    if (content === '') {
      close()
      skipContinuation = false
      continue
    }
    if (content.startsWith(' ') || content.startsWith('\t')) {
      if (open !== undefined) open.values.push(content.trimStart())
      else if (!skipContinuation) problem('an indented line continues the value above it, but there is none')
      continue
    }
    close()
    skipContinuation = false
    if (content.startsWith('#') || content.startsWith(';')) continue
    if (content.startsWith('[')) {
      if (!content.endsWith(']')) {
        problem("a section's name must end with ']'")
      } else if (content.length <= 2) {
        problem('a section must have a name')
      } else {
        section = content.slice(1, -1)
        if (!sections.has(section)) sections.set(section, { name: section, file, line })
      }
      continue
    }
    const separator = content.search(/[=:]/)
    if (separator < 0) {
      problem(`expected 'name = value', found '${content.split(/\s/, 1)[0]}'`)
      continue
    }
    const name = content.slice(0, separator).trim()
    if (name === '') {
      problem("there is no name before the '=' or ':'")
    } else if (section === undefined) {
      problem(`'${name}' stands before the first [section]`)
    } else {
      open = { name, values: [unquoted(content.slice(separator + 1).trim())], line }
    }
  }
  close()
  return { sections: [...sections.values()], entries, problems }
}

function unquoted(value: string): string {
  const first = value[0]
  return (first === '"' || first === "'") && value.endsWith(first) ? value.slice(1, -1) : value
}
