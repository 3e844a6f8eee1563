import { messageOf } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { findGroup } from '../groups/queries.ts'
import { findSnapshot } from '../snapshots/queries.ts'
import { attachmentsByVolume, findVolume } from '../volumes/queries.ts'
import { groupNotice, snapshotNotice, volumeNotice } from './payloads.ts'

export type SubjectKind = 'volume' | 'snapshot' | 'group'

/** What is told of a resource, and who tells it. */
export interface Subject {
  readonly publisherId: string
  readonly payload: Readonly<Record<string, unknown>>
  readonly isFailed: boolean
}

/**
 * Reads what a notification says of a resource.
 * @returns undefined when it is not there; also when it cannot be read, because no operation fails for a notification
 */
export async function readSubject(block: Block, kind: SubjectKind, id: string): Promise<Subject | undefined> {
  try {
    return await readers[kind](block, id)
  } catch (error) {
    block.log.warn({ [kind]: id, error: messageOf(error) }, 'nothing could be read for a notification')
    return undefined
  }
}

const readers: Readonly<Record<SubjectKind, (block: Block, id: string) => Promise<Subject | undefined>>> = {
  async volume(block, id) {
    const row = await findVolume(block.db, id)
    if (row === undefined) return undefined
    const attachments = (await attachmentsByVolume(block.db, [row])).get(id) ?? []
    return subject('volume', row.host, row.status, volumeNotice(row, attachments))
  },
  async snapshot(block, id) {
    const row = await findSnapshot(block.db, id)
    if (row === undefined) return undefined
    const volume = await findVolume(block.db, row.volume_id)
    const zone = { availability_zone: volume?.availability_zone ?? null }
    return subject('snapshot', volume?.host ?? null, row.status, { ...zone, ...snapshotNotice(row) })
  },
  async group(block, id) {
    const row = await findGroup(block.db, id)
    return row && subject('group', row.host, row.status, groupNotice(row))
  },
}

/** Whoever tells is called by the host that the resource is on, without its pool. */
function subject(
  kind: SubjectKind,
  host: string | null,
  status: string,
  payload: Record<string, unknown>,
): Subject {
  const publisherId = `${kind}.${host?.split('#', 1)[0] ?? 'unknown'}`
  return { publisherId, payload, isFailed: status.startsWith('error') }
}
