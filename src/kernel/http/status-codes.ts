/**
 * The standard phrase of each HTTP status, `404` → `Not Found`.
 *
 * Not an ES import of `node:http`: that evaluates the module's lazy exports, one of which loads a whole WebSocket
 * and fetch implementation (40 ms and 5 MB of every start).
 */
export const STATUS_CODES: Readonly<Record<string, string | undefined>> =
  process.getBuiltinModule('node:http').STATUS_CODES
