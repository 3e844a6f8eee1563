import { Forbidden } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { findAllowed } from './access.ts'

/**
 * Shuts an image's data off, or lets it be read again. Doing it twice is fine.
 * @throws Forbidden for an image that has no data to shut off
 * @see image-api specification 3.8
 */
export async function setActivation(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  to: 'active' | 'deactivated',
): Promise<void> {
  const rule = to === 'active' ? 'reactivate' : 'deactivate'
  const { row } = await findAllowed(environment, request, imageId, rule)
  if (row.status === to) return
  const from = to === 'active' ? 'deactivated' : 'active'
  const changed = await environment.db
    .updateTable('images')
    .set({ status: to, updated_at: environment.now().toISOString() })
    .where('id', '=', imageId)
    .where('status', '=', from)
    .executeTakeFirst()
  if (changed.numUpdatedRows > 0n) return
  throw new Forbidden(`Not allowed to ${rule} image in status '${row.status}'`)
}
