import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import { allTenants, type Condition, nextLink, readFilters, readPaging, withCount } from '../listing.ts'
import type { Answer, BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { queryBoolean } from '../validation.ts'
import { volumeCondition, volumeFilters, volumeSortColumns } from './filters.ts'
import { attachmentsByVolume, countVolumes, listVolumeNames, listVolumes, summarise } from './queries.ts'
import { volumeJson, volumeSummaryJson } from './view.ts'

/** `GET /volumes` and `GET /volumes/detail`. @see block-storage-api specification 1.7–1.9 */
export async function answerVolumeList(
  block: Block,
  request: BlockRequest,
  detail: boolean,
): Promise<Answer> {
  authorize(request.identity, 'volume:get_all')
  const paging = readPaging(request.query, volumeSortColumns, block.settings.osapiMaxLimit)
  const conditions = readConditions(block, request)
  let ids: readonly string[]
  let text: string
  if (detail) {
    const rows = await listVolumes(block.db, conditions, paging)
    const attachments = await attachmentsByVolume(block.db, rows)
    text = rows.map((row) => volumeJson(row, attachments.get(row.id) ?? [], request, 'show')).join()
    ids = rows.map((row) => row.id)
  } else {
    const rows = await listVolumeNames(block.db, conditions, paging)
    text = rows.map((row) => volumeSummaryJson(row, request)).join()
    ids = rows.map((row) => row.id)
  }
  const count = withCount(request) ? await countVolumes(block.db, conditions) : undefined
  const links = nextLink(request, detail ? '/volumes/detail' : '/volumes', { ids, paging, count })
  let body = `{"volumes":[${text}]`
  if (links !== undefined) body += `,"volumes_links":${JSON.stringify(links)}`
  if (count !== undefined) body += `,"count":${count}`
  return { status: 200, body: `${body}}` }
}

function readConditions(block: Block, request: BlockRequest): readonly Condition[] {
  const conditions = scope(request)
  for (const [name, value] of readFilters(request, volumeFilters)) {
    conditions.push(volumeCondition(request, block.engine, name, value))
  }
  return conditions
}

/** The caller's project, or all; nobody but admins sees the targets of migrations. */
function scope(request: BlockRequest): Condition[] {
  const conditions: Condition[] = []
  if (!allTenants(request)) conditions.push(sql<SqlBool>`project_id = ${request.projectId}`)
  if (!request.isAdmin) {
    conditions.push(sql<SqlBool>`(migration_status is null or migration_status not like 'target:%')`)
  }
  return conditions
}

/** `GET /volumes/summary`. @see specification 3.3 */
export async function answerVolumeSummary(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume:get_all')
  const { count, sizeGib, metadata } = await summarise(block.db, scope(request))
  const summary: Record<string, unknown> = { total_count: count, total_size: sizeGib }
  if (request.minor >= 36) {
    const values = new Map<string, Set<string>>()
    for (const text of metadata) {
      for (const [key, value] of Object.entries(JSON.parse(text) as Record<string, string>)) {
        values.set(key, (values.get(key) ?? new Set()).add(value))
      }
    }
    summary['metadata'] = Object.fromEntries([...values].map(([key, set]) => [key, [...set]]))
  }
  return { status: 200, body: { 'volume-summary': summary } }
}

/** A flag of `DELETE /volumes/{id}`. */
export function flag(request: BlockRequest, name: string): boolean {
  const text = request.query.get(name)
  return text !== null && queryBoolean(name, text)
}
