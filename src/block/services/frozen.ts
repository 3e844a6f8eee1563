import { Invalid } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'

/**
 * Refuses what would change a frozen backend.
 * @param host `host@backend#pool` or `host@backend`; null is nowhere yet
 * @throws Invalid in upstream's words @see block-storage-api specification 5.2
 */
export async function refuseFrozen(db: BlockDb, host: string | null): Promise<void> {
  const backendHost = host?.split('#', 1)[0]
  if (backendHost === undefined) return
  const frozen = await db
    .selectFrom('volume_services')
    .select('id')
    .where('host', '=', backendHost)
    .where('frozen', '=', 1)
    .executeTakeFirst()
  if (frozen !== undefined) {
    throw new Invalid(
      'Invalid input received: Modification operations are not allowed on frozen storage backends.',
    )
  }
}
