/** Columns hold flags as 0 and 1. */
export function asFlag(value: boolean | undefined, fallback: boolean): number {
  return (value ?? fallback) ? 1 : 0
}

/**
 * The attributes that Keystone does not know; it keeps them and returns them again. A null one, in a change,
 * removes what was there.
 */
export function extraOf(
  body: Readonly<Record<string, unknown>>,
  known: readonly string[],
  before: string = '{}',
): string {
  const extra: Record<string, unknown> = JSON.parse(before)
  for (const [name, value] of Object.entries(body)) {
    if (known.includes(name)) continue
    if (value === null || value === undefined) delete extra[name]
    else extra[name] = value
  }
  return JSON.stringify(extra)
}
