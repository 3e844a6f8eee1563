import type { ReservationStore } from '@emberglass/iscsi/target'
import type { Database } from '../database/database.ts'
import { readSetting, writeSetting } from '../resources/settings.ts'

const nameOf = (storeId: string) => `reservations ${storeId}`

/** Persistent reservations of a volume, kept with the metadata when an initiator asks for it (APTPL). */
export function reservationsOf(database: Database, storeId: string): ReservationStore {
  return {
    saved: readSetting<string | undefined>(database, nameOf(storeId), undefined),
    save: async (state) => writeSetting(database, nameOf(storeId), state),
  }
}

/** Forgets them, with the volume. */
export function forgetReservations(database: Database, storeId: string): void {
  database.run('DELETE FROM setting WHERE name = ?', nameOf(storeId))
}
