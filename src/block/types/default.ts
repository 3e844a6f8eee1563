import { BackendError, NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'
import { findTypeByName, getType, type TypeRow } from './queries.ts'

/**
 * The type of volumes that are created without one: the project's own, else the configured one.
 * @throws BackendError when the configured one does not exist, which only an operator can repair
 */
export async function defaultType(
  block: Pick<Block, 'settings'>,
  db: BlockDb,
  projectId: string,
): Promise<TypeRow> {
  const own = await db
    .selectFrom('default_volume_types')
    .select('volume_type_id')
    .where('project_id', '=', projectId)
    .executeTakeFirst()
  if (own !== undefined) {
    try {
      return await getType(db, { projectId, isAdmin: true }, own.volume_type_id)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }
  const name = block.settings.defaultVolumeType
  const found = await findTypeByName(db, name)
  if (found === undefined) {
    throw new BackendError(`The default volume type ${name} does not exist.`, { left: 'nothing' })
  }
  return found
}
