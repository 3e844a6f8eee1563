import { integer, list, type Option } from '../kernel/config/options.ts'
import { Invalid } from '../kernel/errors.ts'

/** A comma list that may stand in brackets, as oslo's bounded lists do. */
export function bracketedList(
  name: string,
  extras: { help: string; default: readonly string[] },
): Option<readonly string[]> {
  const plain = list(name, extras)
  return {
    ...plain,
    parse: (value) =>
      plain
        .parse(value.replace(/^\s*\[(.*)\]\s*$/s, '$1'))
        .map((item) => item.replace(/^(['"])(.*)\1$/, '$2')),
  }
}

const byteUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 2 ** 10,
  MB: 2 ** 20,
  GB: 2 ** 30,
  TB: 2 ** 40,
}

/** Bytes, with or without one of upstream's units: `10GB`. Those are powers of 1024. */
export function byteSize(name: string, extras: { help: string }): Option<number> {
  return {
    ...integer(name, { ...extras, min: 0 }),
    kind: 'bytes',
    parse(value) {
      const [, digits = '', unit = 'B'] = /^(\d+)\s*([KMGT]?B)?$/i.exec(value.trim()) ?? []
      if (digits === '')
        throw new Invalid(`expected bytes, or a number with KB, MB, GB or TB, not '${value}'`)
      return Number(digits) * (byteUnits[unit.toUpperCase()] ?? 1)
    },
  }
}

/** The values of a group of options. */
export type Values<Options> = {
  readonly [Key in keyof Options]: Options[Key] extends Option<infer Value> ? Value : never
}
