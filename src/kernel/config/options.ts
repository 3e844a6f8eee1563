import { Invalid } from '../errors.ts'
import { Secret } from '../secret.ts'

/**
 * One option of a configuration file, declared beside the code that uses it.
 * `Value` is what the code receives.
 */
export interface Option<Value> {
  /** The name in the file: `san_ip`. */
  readonly name: string
  /** Other names that existing files use; found ones warn. */
  readonly deprecatedNames: readonly string[]
  readonly help: string
  /** For the sample file: `string`, `integer`, `seconds`… */
  readonly kind: string
  readonly required: boolean
  readonly default: Value
  /** May be given several times (oslo's MultiStrOpt): `parse` is then called for each and the results joined. */
  readonly multiple: boolean
  /** @throws Invalid that says what is expected, without the option's name */
  parse(text: string): Value
}

/** The options of a group, by the property each becomes. */
export type OptionSet<Settings> = { readonly [Key in keyof Settings]: Option<Settings[Key]> }

/** What the code receives when nothing is configured. */
export function defaultsOf<Settings>(options: OptionSet<Settings>): Settings {
  const defaults = Object.entries<Option<unknown>>(options).map(([key, each]) => [key, each.default])
  return Object.fromEntries(defaults) as Settings // the same keys, each with its own default
}

interface Extras<Value> {
  readonly help: string
  readonly default?: Value
  readonly deprecatedNames?: readonly string[]
}

function option<Value>(
  kind: string,
  name: string,
  extras: Extras<Value>,
  fallback: Value,
  parse: (text: string) => Value,
): Option<Value> {
  return {
    name,
    kind,
    help: extras.help,
    deprecatedNames: extras.deprecatedNames ?? [],
    required: false,
    default: extras.default === undefined ? fallback : extras.default,
    multiple: false,
    parse,
  }
}

/** Text; empty unless it has a default. */
export const text = (name: string, extras: Extras<string>): Option<string> =>
  option('string', name, extras, '', (value) => value)

/** Text that may be absent. */
export const optionalText = (name: string, extras: Extras<string | undefined>): Option<string | undefined> =>
  option<string | undefined>('string', name, extras, undefined, (value) => (value === '' ? undefined : value))

/** Text without which the service does not start. */
export const requiredText = (
  name: string,
  extras: { help: string; deprecatedNames?: readonly string[] },
) => ({
  ...option('string', name, extras, '', (value) => value),
  required: true,
})

/** A value that is never printed. */
export const secret = (name: string, extras: Extras<Secret | undefined>): Option<Secret | undefined> =>
  option<Secret | undefined>('secret', name, extras, undefined, (value) =>
    value === '' ? undefined : new Secret(value),
  )

export const boolean = (name: string, extras: Extras<boolean>): Option<boolean> =>
  option('boolean', name, extras, false, (value) => {
    const lower = value.toLowerCase()
    if (['true', '1', 'on', 'yes'].includes(lower)) return true
    if (['false', '0', 'off', 'no'].includes(lower)) return false
    throw new Invalid(`expected true or false, not '${value}'`)
  })

/** A boolean that may be absent: then something else decides. */
export const optionalBoolean = (
  name: string,
  extras: { help: string; deprecatedNames?: readonly string[] },
): Option<boolean | undefined> => ({ ...boolean(name, extras), default: undefined })

export const integer = (
  name: string,
  extras: Extras<number> & { min?: number; max?: number },
): Option<number> =>
  option('integer', name, extras, 0, (value) => {
    const number = Number(value)
    if (!/^[+-]?\d+$/.test(value) || !Number.isSafeInteger(number)) {
      throw new Invalid(`expected a whole number, not '${value}'`)
    }
    if (extras.min !== undefined && number < extras.min) {
      throw new Invalid(`expected ${extras.min} or more, not ${value}`)
    }
    if (extras.max !== undefined && number > extras.max) {
      throw new Invalid(`expected ${extras.max} or less, not ${value}`)
    }
    return number
  })

export const float = (name: string, extras: Extras<number>): Option<number> =>
  option('float', name, extras, 0, (value) => {
    const number = Number(value)
    if (value === '' || !Number.isFinite(number)) throw new Invalid(`expected a number, not '${value}'`)
    return number
  })

/** Seconds in the file, seconds in the program. */
export const seconds = (name: string, extras: Extras<number>): Option<number> => ({
  ...integer(name, { ...extras, min: 0 }),
  kind: 'seconds',
})

/** A TCP port. */
export const port = (name: string, extras: Extras<number>): Option<number> => ({
  ...integer(name, { ...extras, min: 0, max: 65_535 }),
  kind: 'port',
})

/** One of a few words. */
export const choice = <const Word extends string>(
  name: string,
  words: readonly Word[],
  extras: Extras<Word> & { default: Word },
): Option<Word> =>
  option(words.join('|'), name, extras, extras.default, (value) => {
    const found = words.find((word) => word === value)
    if (found === undefined) throw new Invalid(`expected one of ${words.join(', ')}, not '${value}'`)
    return found
  })

/** `a,b,c`. */
export const list = (name: string, extras: Extras<readonly string[]>): Option<readonly string[]> =>
  option<readonly string[]>('list', name, extras, [], splitList)

/** `key:value,key:value`. */
export const dictionary = (
  name: string,
  extras: Extras<Readonly<Record<string, string>>>,
): Option<Readonly<Record<string, string>>> =>
  option<Readonly<Record<string, string>>>('dictionary', name, extras, {}, (value) =>
    Object.fromEntries(
      splitList(value).map((item) => {
        const colon = item.indexOf(':')
        if (colon < 0) throw new Invalid(`expected key:value pairs, not '${item}'`)
        return [item.slice(0, colon).trim(), item.slice(colon + 1).trim()]
      }),
    ),
  )

/** A JSON object. */
export const json = (
  name: string,
  extras: Extras<Readonly<Record<string, unknown>>>,
): Option<Readonly<Record<string, unknown>>> =>
  option<Readonly<Record<string, unknown>>>('JSON', name, extras, {}, (value) => {
    if (value === '') return {}
    let parsed: unknown
    try {
      parsed = JSON.parse(value)
    } catch {
      throw new Invalid(`expected JSON, not '${value}'`)
    }
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
      throw new Invalid(`expected a JSON object, not '${value}'`)
    }
    return { ...parsed }
  })

/** An option that may stand in the file several times, once for each value. */
export const multiple = (name: string, extras: Extras<readonly string[]>): Option<readonly string[]> => ({
  ...option<readonly string[]>('string, may be repeated', name, extras, [], (value) => [value]),
  multiple: true,
})

function splitList(value: string): readonly string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}
