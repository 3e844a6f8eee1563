import type { Kysely, Selectable, Updateable } from 'kysely'
import { Conflict, NotFound } from '../errors.ts'
import type { Db } from './database.ts'

/** Tables whose rows have an id and a status. */
type TableWithStatus<Tables> = {
  [Name in keyof Tables]: Selectable<Tables[Name]> extends { id: string; status: string } ? Name : never
}[keyof Tables] &
  string

/**
 * Changes a row's status by compare-and-swap: of two racing requests one wins, and the other is told. The only
 * way in which a status changes.
 * @param change.from statuses from which this may happen
 * @param change.set further columns, changed in the same statement
 * @returns the row as it is now
 * @throws NotFound when there is no such row; Conflict, with `status` and `from` in its details, when it is in
 *   another status
 */
export async function transition<Tables, Name extends TableWithStatus<Tables>>(
  db: Db<Tables>,
  table: Name,
  id: string,
  change: { from: readonly string[]; to: string; set?: Updateable<Tables[Name]> },
): Promise<Selectable<Tables[Name]>> {
  // TableWithStatus has proved these two columns; Kysely's types cannot follow a generic table's name
  const known = db as unknown as Kysely<Record<string, { id: string; status: string }>>
  const updated = await known
    .updateTable(table as string)
    .set({ ...change.set, status: change.to })
    .where('id', '=', id)
    .where('status', 'in', change.from)
    .returningAll()
    .executeTakeFirst()
  if (updated !== undefined) return updated as Selectable<Tables[Name]>
  const present = await known
    .selectFrom(table as string)
    .select('status')
    .where('id', '=', id)
    .executeTakeFirst()
  if (present === undefined) {
    throw new NotFound(`There is no ${id} in ${table}.`, { details: { table, id } })
  }
  throw new Conflict(`${id} is ${present.status}; it must be ${change.from.join(' or ')}.`, {
    details: { table, id, status: present.status, from: change.from },
  })
}
