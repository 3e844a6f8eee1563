import { Conflict } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { insertType } from './routes.ts'

/**
 * At the first start: the default type, which fits every backend, and one type for each enabled backend. Later
 * starts leave types alone, but the default one is always there, because upstream fails without it.
 */
export async function createFirstTypes(block: Block): Promise<void> {
  const rows = await block.db.selectFrom('volume_types').select(['id', 'name']).execute()
  const wanted = new Map<string, Readonly<Record<string, string>>>()
  const name = block.settings.defaultVolumeType
  if (rows.length === 0) {
    for (const { volumeBackendName } of block.backends.all) {
      wanted.set(volumeBackendName, { volume_backend_name: volumeBackendName })
    }
    if (!wanted.has('__DEFAULT__')) wanted.set('__DEFAULT__', {})
  }
  const known = rows.some((row) => row.name === name) || wanted.has(name)
  if (!known && name === '__DEFAULT__') wanted.set(name, {})
  for (const [typeName, extraSpecs] of wanted) {
    const description = typeName === '__DEFAULT__' ? 'Default Volume Type' : null
    try {
      await insertType(block, { name: typeName, description, isPublic: true, extraSpecs })
    } catch (error) {
      if (!(error instanceof Conflict)) throw error // another process was first
    }
  }
  if (!known && name !== '__DEFAULT__') {
    block.log.error({ defaultVolumeType: name }, 'the configured default volume type does not exist')
  }
}
