import { Invalid } from '../../../kernel/errors.ts'
import { attachmentsOf, deleteAttachmentRow } from '../../attachments/queries.ts'
import type { Block } from '../../context.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize } from '../../policy.ts'
import { stringMapOf } from '../../types/queries.ts'
import { lockVolume, updateVolume } from '../queries.ts'

const statuses =
  'creating available deleting error error_deleting error_managing managing attaching in-use detaching maintenance restoring-backup error_restoring reserved awaiting-transfer backing-up error_backing-up error_extending downloading uploading retyping extending'.split(
    ' ',
  )
const migrationStatuses = ['migrating', 'error', 'success', 'completing', 'none', 'starting']

interface Wanted {
  readonly status?: string | null
  readonly attach_status?: string | null
  readonly migration_status?: string | null
}

/** `os-reset_status`: an admin's word against the database; running work is not cancelled. @see specification 4.1 */
export async function resetVolumeStatus(
  block: Block,
  request: BlockRequest,
  id: string,
  wanted: Wanted,
): Promise<void> {
  const status = wordOf('status', wanted.status, statuses)
  const attachStatus = wordOf('attach_status', wanted.attach_status, ['attached', 'detached'])
  const migrationStatus = wordOf('migration_status', wanted.migration_status, migrationStatuses)
  if (status === undefined && attachStatus === undefined && migrationStatus === undefined) {
    throw new Invalid("Must specify 'status', 'attach_status' or 'migration_status' for update.")
  }
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume_extension:volume_admin_actions:reset_status', volume.project_id)
    if (status === 'deleting')
      throw new Invalid('Invalid input received: a volume cannot be reset to deleting.')
    const attachments = await attachmentsOf(transaction, id)
    if (status === 'in-use' && attachments.length === 0) {
      throw new Invalid(
        'Invalid input received: Cannot reset-state to in-use for a volume without attachments.',
      )
    }
    if (attachStatus === 'detached') {
      for (const attachment of attachments) await deleteAttachmentRow(transaction, attachment.id)
    }
    const { attached_mode: _, ...withoutMode } = stringMapOf(volume.admin_metadata)
    await updateVolume(transaction, id, {
      ...(status === undefined ? {} : { status }),
      ...(attachStatus === undefined ? {} : { attach_status: attachStatus }),
      ...(attachStatus === 'detached' ? { admin_metadata: JSON.stringify(withoutMode) } : {}),
      ...(migrationStatus === undefined
        ? {}
        : { migration_status: migrationStatus === 'none' ? null : migrationStatus }),
      updated_at: block.now().toISOString(),
    })
  })
}

function wordOf(name: string, text: string | null | undefined, words: readonly string[]): string | undefined {
  if (text === null || text === undefined || text === '') return undefined
  const word = text.toLowerCase()
  if (!words.includes(word)) throw new Invalid(`Must specify a valid status for ${name}, not '${text}'.`)
  return word
}
