import { NotFound } from '../../kernel/errors.ts'
import type { Block, BlockDb } from '../context.ts'

/** The host of a backup service that is enabled and alive. @param zone any when null */
export async function usableBackupHost(
  block: Pick<Block, 'now' | 'settings'>,
  db: BlockDb,
  zone: string | null,
): Promise<string | undefined> {
  const oldest = new Date(block.now().getTime() - block.settings.serviceDownSeconds * 1000)
  let select = db
    .selectFrom('volume_services')
    .select('host')
    .where('binary', '=', 'cinder-backup')
    .where('disabled', '=', 0)
    .where('updated_at', '>=', oldest.toISOString())
  if (zone !== null) select = select.where('availability_zone', '=', zone)
  return (await select.orderBy('host').limit(1).executeTakeFirst())?.host
}

/** @throws NotFound in upstream's words */
export async function requireBackupHost(
  block: Pick<Block, 'now' | 'settings'>,
  db: BlockDb,
  zone: string | null,
): Promise<string> {
  const host = await usableBackupHost(block, db, zone)
  if (host === undefined) throw new NotFound('Service cinder-backup could not be found.')
  return host
}
