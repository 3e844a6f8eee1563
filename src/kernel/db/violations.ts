/** SQLite's extended result codes for UNIQUE and PRIMARY KEY. */
const sqliteCodes = [2067, 1555]
/** PostgreSQL's SQLSTATE unique_violation. */
const postgresCode = '23505'

/** Did a statement fail because a row with the same unique key exists? On either engine. */
export function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('errcode' in error && typeof error.errcode === 'number') return sqliteCodes.includes(error.errcode)
  return 'code' in error && error.code === postgresCode
}
