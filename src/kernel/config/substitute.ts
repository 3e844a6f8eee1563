import { Invalid } from '../errors.ts'

/** `$$`, `${name}`, `$name`; names as in oslo.config, where a dot separates a group from an option. */
const reference = /\$(?:(\$)|\{([_a-z][._a-z0-9]*)\}|([_a-z][._a-z0-9]*))/gi

/**
 * Replaces `$name`, `${name}` and `$group.name` with what `lookup` answers; `$$` and `\$` become `$`, and a `$`
 * before anything else stays.
 * @throws Invalid, with the name in its details, when `lookup` answers undefined
 * @see oslo_config/cfg.py ConfigOpts._substitute
 */
export function substitute(value: string, lookup: (name: string) => string | undefined): string {
  if (!value.includes('$')) return value
  return value
    .replaceAll('\\$', () => '$$')
    .replace(reference, (_, dollar, braced, plain) => {
      if (dollar !== undefined) return '$'
      const name = String(braced ?? plain)
      const found = lookup(name)
      if (found === undefined) {
        throw new Invalid(`refers to $${name}, which is not set; a plain dollar sign is written $$`, {
          details: { name },
        })
      }
      return found
    })
}
