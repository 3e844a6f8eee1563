import type { Selectable } from 'kysely'
import { NotFound } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { VolumeQosSpecsTable } from '../db/tables.ts'
import { stringMapOf } from '../types/queries.ts'

export type QosRow = Selectable<VolumeQosSpecsTable>

/** @throws NotFound */
export async function getQosSpecs(db: BlockDb, id: string): Promise<QosRow> {
  const row = await db.selectFrom('volume_qos_specs').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined) throw new NotFound(`No such QoS spec ${id}.`)
  return row
}

/** @see block-storage-api specification 3.7 */
export function qosView(row: QosRow): object {
  return { id: row.id, name: row.name, consumer: row.consumer, specs: stringMapOf(row.specs) }
}
