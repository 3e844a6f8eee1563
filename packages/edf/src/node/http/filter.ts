import { invalidRequest } from '../errors.ts'

/** What a filter needs to know of an item: the value of an attribute, `undefined` when it has none. */
export type Attributes = (name: string) => unknown

export interface Filter {
  /** Attributes it looks at. */
  readonly names: ReadonlySet<string>
  matches(attributes: Attributes): boolean
}

/**
 * The resource query language of `filter=`: `match(name,<regular expression>)`, `eq`, `ne`, `gt`, `ge`, `lt`, `le`,
 * `in(name,(a,b))`, `out`, `contains`, `excludes`, `and(…)`, `or(…)`, `not(…)`; and the short forms `name=foo` (the
 * array's own example), `size=gt=5`, `size>5`, `a&b`, `a|b`, `(a|b)&c`. (EDF API specification, section 1.8;
 * github.com/persvr/rql for the language.)
 * @throws ApiError 400 for anything else
 */
export function parseFilter(text: string): Filter {
  const names = new Set<string>()
  const test = parseExpression(text.trim(), names, 0)
  return { names, matches: test }
}

type Test = (attributes: Attributes) => boolean

const comparisons: Readonly<Record<string, (difference: number) => boolean>> = {
  gt: (difference) => difference > 0,
  ge: (difference) => difference >= 0,
  lt: (difference) => difference < 0,
  le: (difference) => difference <= 0,
}

function parseExpression(text: string, names: Set<string>, depth: number): Test {
  if (depth > 8) throw unknownFilter(text)
  const parts = (list: readonly string[]) => list.map((part) => parseExpression(part, names, depth + 1))
  const alternatives = splitOutside(text, '|')
  if (alternatives.length > 1) return any(parts(alternatives))
  const conditions = splitOutside(text, '&')
  if (conditions.length > 1) return all(parts(conditions))
  const call = /^(\w*)\((.*)\)$/s.exec(text)
  if (call === null) return parseShortForm(text, names)
  const [, operator = '', inner = ''] = call
  if (operator === '') return parseExpression(inner.trim(), names, depth + 1)
  if (operator === 'and') return all(parts(splitOutside(inner, ',')))
  if (operator === 'or') return any(parts(splitOutside(inner, ',')))
  if (operator === 'not') {
    const test = parseExpression(inner.trim(), names, depth + 1)
    return (attributes) => !test(attributes)
  }
  const comma = inner.indexOf(',')
  if (comma < 0) throw unknownFilter(text)
  return compare(text, operator, inner.slice(0, comma).trim(), inner.slice(comma + 1), names)
}

const all =
  (tests: readonly Test[]): Test =>
  (attributes) =>
    tests.every((test) => test(attributes))

const any =
  (tests: readonly Test[]): Test =>
  (attributes) =>
    tests.some((test) => test(attributes))

const signs: Readonly<Record<string, string>> = {
  '=': 'eq',
  '==': 'eq',
  '!=': 'ne',
  '>': 'gt',
  '>=': 'ge',
  '<': 'lt',
  '<=': 'le',
}

/** `name=foo`, `size=gt=5`, `size>5`. */
function parseShortForm(text: string, names: Set<string>): Test {
  const [, name = '', word, sign = '', value = ''] =
    /^([\w.]+)(?:=(\w+)=(?!=)|([!<>=]=?))(.*)$/s.exec(text) ?? []
  const operator = word ?? signs[sign]
  if (operator === undefined) throw unknownFilter(text)
  return compare(text, operator, name, value, names)
}

function compare(text: string, operator: string, name: string, value: string, names: Set<string>): Test {
  names.add(name)
  if (operator === 'match') {
    const matches = compilePattern(value)
    return (attributes) => matches(String(attributes(name) ?? ''))
  }
  if (operator === 'eq') return (attributes) => equals(attributes(name), value)
  if (operator === 'ne') return (attributes) => !equals(attributes(name), value)
  if (operator === 'contains') return (attributes) => contains(attributes(name), value)
  if (operator === 'excludes') return (attributes) => !contains(attributes(name), value)
  if (operator === 'in' || operator === 'out') {
    const list = /^\s*\((.*)\)\s*$/s.exec(value)
    if (list === null) throw unknownFilter(text)
    const values = (list[1] ?? '').split(',').map((item) => item.trim())
    const wanted = operator === 'in'
    return (attributes) => values.some((item) => equals(attributes(name), item)) === wanted
  }
  const comparison = comparisons[operator]
  if (comparison === undefined) throw unknownFilter(text)
  return (attributes) => comparison(compareValues(attributes(name), value.trim()))
}

/** Splits at the separators that stand outside of parentheses. */
function splitOutside(text: string, separator: ',' | '|' | '&'): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let index = 0; index < text.length; index++) {
    const character = text[index]
    if (character === '(') depth++
    else if (character === ')') depth--
    else if (character === separator && depth === 0) {
      parts.push(text.slice(start, index).trim())
      start = index + 1
    }
  }
  parts.push(text.slice(start).trim())
  return parts
}

const literalBetweenWildcards = /^(\.\*)?([\w\-:/@ ]+|(?:[\w\-:/@ ]|\\?\.(?!\*))+)(\.\*)?$/

/**
 * A regular expression that has to match the whole value. The usual form, text between `.*`, is compared as text; of
 * other expressions only those are taken whose running time stays small.
 */
function compilePattern(pattern: string): (value: string) => boolean {
  const literal = literalBetweenWildcards.exec(pattern)
  if (literal !== null && !(literal[2] ?? '').includes('.')) {
    const text = literal[2] ?? ''
    if (literal[1] && literal[3]) return (value) => value.includes(text)
    if (literal[3]) return (value) => value.startsWith(text)
    if (literal[1]) return (value) => value.endsWith(text)
    return (value) => value === text
  }
  const collapsed = pattern.replace(/(?:\.\*)+/g, '.*')
  const quantifiers = collapsed.match(/[*+{?]/g)?.length ?? 0
  if (collapsed.length > 512 || quantifiers > 4 || /\)[*+{?]/.test(collapsed) || /\\\d/.test(collapsed)) {
    throw invalidRequest(`The expression "${pattern}" is too complex for a filter`)
  }
  let expression: RegExp
  try {
    expression = new RegExp(`^(?:${collapsed})$`, 's')
  } catch {
    throw invalidRequest(`"${pattern}" is not a regular expression`)
  }
  return (value) => expression.test(value)
}

function equals(value: unknown, text: string): boolean {
  if (typeof value === 'number') return value === Number(text)
  return String(value ?? '') === text
}

/** Of a list a member, of a text a part. */
function contains(value: unknown, text: string): boolean {
  return Array.isArray(value) ? value.some((item) => equals(item, text)) : String(value ?? '').includes(text)
}

/** Numbers by value, everything else as text. Negative, zero or positive. */
export function compareValues(a: unknown, b: unknown): number {
  const [left, right] = [Number(a), Number(b)]
  if (a !== '' && b !== '' && !Number.isNaN(left) && !Number.isNaN(right)) return left - right
  const [first, second] = [String(a ?? ''), String(b ?? '')]
  return first < second ? -1 : first > second ? 1 : 0
}

const unknownFilter = (text: string) => invalidRequest(`The filter "${text}" is not understood`)
