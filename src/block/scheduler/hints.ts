import type { BlockDb } from '../context.ts'
import { backendOf, type SchedulerHints } from './pools.ts'

/** `OS-SCH-HNT:scheduler_hints` of a request. Whatever is not known here passes. */
export type WireHints = Readonly<Record<string, unknown>>

/**
 * Looks up where the volumes that hints name are.
 * @param projectId whose volumes may be named
 * @see block-storage-api specification 5.3
 */
export async function resolveHints(
  db: BlockDb,
  projectId: string,
  hints: WireHints,
): Promise<SchedulerHints> {
  const backends = async (name: string): Promise<readonly string[] | undefined> => {
    const ids = idsOf(hints[name])
    if (ids.length === 0) return undefined
    const rows = await db
      .selectFrom('volumes')
      .select('host')
      .where('project_id', '=', projectId)
      .where('id', 'in', ids)
      .execute()
    return rows.flatMap(({ host }) => (host === null ? [] : [backendOf(host)]))
  }
  const query = hints['query']
  const instance = hints['local_to_instance']
  return {
    sameHost: await backends('same_host'),
    differentHost: await backends('different_host'),
    localToInstance: typeof instance === 'string' && instance !== '' ? instance : undefined,
    query: typeof query === 'string' ? query : query === undefined ? undefined : JSON.stringify(query),
  }
}

/** One id, or a list of them. */
function idsOf(value: unknown): readonly string[] {
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value]
  return ids.filter((id) => typeof id === 'string')
}
