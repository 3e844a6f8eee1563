/** What a Python literal of a filter can hold. */
export type PythonLiteral =
  | string
  | number
  | boolean
  | null
  | readonly PythonLiteral[]
  | ReadonlyMap<string, PythonLiteral>

/**
 * Reads a Python literal: `{'k': 'v'}`, `['a', 'b']`. List filters of this API are written so.
 * @returns undefined when the text is none
 * @see block-storage-api specification 1.9
 */
export function parsePythonLiteral(text: string): PythonLiteral | undefined {
  const parser = new Parser(text)
  try {
    const value = parser.value(0)
    return parser.atEnd() ? value : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** A dictionary of texts, for metadata filters; undefined when the text is anything else. */
export function parsePythonStringMap(text: string): ReadonlyMap<string, string> | undefined {
  const value = parsePythonLiteral(text)
  if (!(value instanceof Map)) return undefined
  const strings = new Map<string, string>()
  for (const [key, item] of value) strings.set(String(key), String(item))
  return strings
}

const deepest = 8
const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  '\\': '\\',
  "'": "'",
  '"': '"',
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  atEnd(): boolean {
    this.#blanks()
    return this.#at === this.#text.length
  }

  value(depth: number): PythonLiteral {
    if (depth > deepest) throw new SyntaxError('nested too deeply')
    this.#blanks()
    const next = this.#text[this.#at]
    if (next === '{') return this.#dictionary(depth)
    if (next === '[') return this.#sequence(']', depth)
    if (next === '(') return this.#sequence(')', depth)
    if (/^[uUrR]?['"]/.test(this.#text.slice(this.#at, this.#at + 2))) return this.#string()
    const word = /^[\w.+-]+/.exec(this.#text.slice(this.#at))?.[0]
    if (word === undefined) throw new SyntaxError('no value')
    this.#at += word.length
    if (word === 'True') return true
    if (word === 'False') return false
    if (word === 'None') return null
    const number = Number(word)
    if (Number.isNaN(number)) throw new SyntaxError(`${word} is no literal`)
    return number
  }

  #blanks(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++
  }

  #take(character: string): boolean {
    this.#blanks()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #dictionary(depth: number): PythonLiteral {
    this.#at++
    const map = new Map<string, PythonLiteral>()
    while (!this.#take('}')) {
      const key = this.value(depth + 1)
      if (!this.#take(':')) throw new SyntaxError('a colon is missing')
      map.set(String(key), this.value(depth + 1))
      if (!this.#take(',') && this.#text[this.#at] !== '}') throw new SyntaxError('a comma is missing')
    }
    return map
  }

  #sequence(end: string, depth: number): PythonLiteral {
    this.#at++
    const items: PythonLiteral[] = []
    while (!this.#take(end)) {
      items.push(this.value(depth + 1))
      if (!this.#take(',') && this.#text[this.#at] !== end) throw new SyntaxError('a comma is missing')
    }
    return items
  }

  #string(): string {
    if (/[uUrR]/.test(this.#text[this.#at] ?? '')) this.#at++
    const quote = this.#text[this.#at++]
    let value = ''
    for (;;) {
      const character = this.#text[this.#at++]
      if (character === undefined) throw new SyntaxError('the string does not end')
      if (character === quote) return value
      if (character === '\\') {
        const escaped = this.#text[this.#at++] ?? ''
        value += escapes[escaped] ?? `\\${escaped}`
      } else value += character
    }
  }
}
