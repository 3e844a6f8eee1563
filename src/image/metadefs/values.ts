/** The object without the members that are null: upstream leaves them out of its answers. */
export function withoutNulls(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== null && value !== undefined),
  )
}

export function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

/** A member that the schema has proved to be a list, or to be missing. */
export function listIn(body: Readonly<Record<string, unknown>>, name: string): readonly unknown[] {
  const value = body[name]
  return Array.isArray(value) ? value : []
}

/** A value that the schema has proved to be an object, or to be missing. */
export function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {}
}
