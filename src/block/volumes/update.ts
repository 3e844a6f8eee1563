import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { getVolume, lockVolume, updateVolume, type VolumeWithType } from './queries.ts'
import type { UpdateVolume } from './schemas.ts'

/** Changes name, description and metadata. @throws NotFound, Forbidden, InvalidState, Invalid */
export async function updateVolumeFacts(
  block: Block,
  request: BlockRequest,
  id: string,
  body: UpdateVolume,
): Promise<VolumeWithType> {
  if (Object.keys(body).length === 0) {
    throw new Invalid(
      'Invalid input for field/attribute volume. Value: {}. {} does not have enough properties',
    )
  }
  await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, 'volume:update', volume.project_id)
    if (volume.status === 'maintenance') {
      throw new InvalidState('Invalid volume: The volume cannot be updated during maintenance.')
    }
    const name = body.name === undefined ? body.display_name : body.name
    const description = body.description === undefined ? body.display_description : body.description
    const { metadata } = body
    await updateVolume(transaction, id, {
      ...(name === undefined ? {} : { name: name?.trim() ?? null }),
      ...(description === undefined ? {} : { description: description?.trim() ?? null }),
      ...(metadata ? { metadata: JSON.stringify({ ...stringMapOf(volume.metadata), ...metadata }) } : {}),
      updated_at: block.now().toISOString(),
    })
  })
  return await getVolume(block.db, request, id)
}
