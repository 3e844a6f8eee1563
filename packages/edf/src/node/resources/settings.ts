import type { Database } from '../database/database.ts'

/** A JSON value that is kept under a name; `fallback` until somebody writes it. */
export function readSetting<Value>(database: Database, name: string, fallback: Value): Value {
  const row = database.get<{ value: string }>('SELECT value FROM setting WHERE name = ?', name)
  return row === undefined ? fallback : JSON.parse(row.value)
}

export function writeSetting(database: Database, name: string, value: unknown): void {
  database.run(
    'INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    name,
    JSON.stringify(value),
  )
}
