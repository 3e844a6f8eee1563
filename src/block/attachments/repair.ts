import type { Block } from '../context.ts'
import { lockVolume } from '../volumes/queries.ts'
import { followAttachments, updateAttachment } from './queries.ts'

/**
 * Attachments whose host was being let in when the process died become reservations again: nobody was told how to
 * connect. Their connector is kept, so that whoever deletes them shuts the host out. Only for a database of one
 * process: others may be letting hosts in right now.
 */
export async function repairAttachments(block: Block): Promise<void> {
  if (block.engine !== 'sqlite') return
  const interrupted = await block.db
    .selectFrom('volume_attachments')
    .select(['id', 'volume_id', 'project_id'])
    .where('attach_status', '=', 'attaching')
    .where('connection_info', 'is', null)
    .execute()
  for (const { id, volume_id: volumeId, project_id: projectId } of interrupted) {
    await block.db.transaction().execute(async (transaction) => {
      const volume = await lockVolume(transaction, { projectId, isAdmin: true }, volumeId)
      await updateAttachment(transaction, id, { attach_status: 'reserved' })
      await followAttachments(transaction, volume, block.now())
    })
    block.log.warn({ attachmentId: id, volumeId }, 'an interrupted attachment is only reserved again')
  }
}
