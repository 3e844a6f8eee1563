import type { Database } from '../database/database.ts'
import type { SnapshotRow, VolumeRow } from '../database/rows.ts'
import { CopyTable } from '../replicas/copy-table.ts'
import { storedPath } from '../replicas/stored-path.ts'
import { gib } from '../units.ts'
import type { Findings, Stock } from './check-node.ts'

/** Compares what the metadata promise with what the data directories have. @param stocks by medium, of those that are there */
export function checkCopies(
  database: Database,
  stocks: ReadonlyMap<string, Stock>,
  findings: Findings,
): { volumes: number; snapshots: number } {
  const table = new CopyTable(database)
  const nameOf = (id: string) => storedPath(database, id)?.path ?? id
  const volumes = database.all<VolumeRow>(`SELECT * FROM volume WHERE state = 'ready' ORDER BY seq`)
  for (const { store_id: id, replica_count: wanted, size_gib } of volumes) {
    const current = table.of(id).filter(({ state }) => state === 'current')
    const found = current.filter(({ medium }) => stocks.get(medium)?.has(id))
    const lost = current.some(({ medium }) => stocks.get(medium)?.has(id) === false)
    if (lost) findings.errors.push(`a copy of ${nameOf(id)} is gone from its data directory`)
    if (found.length === 0) findings.errors.push(`no copy of ${nameOf(id)} can be read`)
    else if (found.length < wanted) {
      findings.warnings.push(`there are ${found.length} of ${wanted} copies of ${nameOf(id)}`)
    }
    if (found.some(({ medium }) => (stocks.get(medium)?.get(id) ?? 0) < size_gib * gib)) {
      findings.warnings.push(`${nameOf(id)} has yet to grow to ${size_gib} GiB`)
    }
  }
  const snapshots = database.all<SnapshotRow>(`SELECT * FROM snapshot WHERE state = 'ready' ORDER BY seq`)
  for (const { store_id: id, volume } of snapshots) {
    const places = table.of(volume).filter(({ medium }) => stocks.get(medium)?.has(id))
    if (places.length === 0) findings.errors.push(`no copy of ${nameOf(id)} can be read`)
  }
  return { volumes: volumes.length, snapshots: snapshots.length }
}
