import type { Block } from '../../context.ts'
import { contains } from '../../listing.ts'
import type { Known } from '../../volume-driver.ts'
import { backendIdOf } from '../backend-facts.ts'

/** What is known to lie on a backend. @param backendHost `host@backend` */
export async function knownOn(block: Pick<Block, 'db'>, backendHost: string): Promise<Known> {
  const volumes = await block.db
    .selectFrom('volumes')
    .select(['id', 'name_id', 'project_id', 'host', 'provider_location'])
    .where(contains('host', backendHost))
    .where('status', 'not in', ['managing', 'error_managing'])
    .execute()
  const here = volumes.filter(({ host }) => host?.split('#', 1)[0] === backendHost)
  const ids = new Set(here.map(({ id }) => id))
  const snapshots = await block.db
    .selectFrom('snapshots')
    .select(['id', 'volume_id', 'provider_location'])
    .where('volume_id', 'in', (select) =>
      select.selectFrom('volumes').select('id').where('host', 'is not', null),
    )
    .execute()
  return {
    volumes: here.map((row) => ({
      id: backendIdOf(row),
      projectId: row.project_id,
      providerLocation: row.provider_location ?? undefined,
    })),
    snapshots: snapshots
      .filter((row) => ids.has(row.volume_id))
      .map((row) => ({ id: row.id, providerLocation: row.provider_location ?? undefined })),
  }
}
