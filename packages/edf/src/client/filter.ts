/** `match(attribute,regular expression)` for `filter` of lists, with `text` anywhere in the attribute. */
export function containing(attribute: string, text: string): string {
  return `match(${attribute},.*${escapeExpression(text)}.*)`
}

/** Takes the special meaning from every character that has one in a regular expression. */
export function escapeExpression(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
