import { type SqlBool, sql } from 'kysely'
import type { Block } from '../context.ts'
import {
  allTenants,
  type Condition,
  countRows,
  nextLink,
  readFilters,
  readPaging,
  withCount,
} from '../listing.ts'
import type { Answer, BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { queryBoolean } from '../validation.ts'
import { plannedConditions } from './filter-plan.ts'
import { volumeCondition, volumeFilters, volumeSortColumns } from './filters.ts'
import { alongPair } from './metadata-index.ts'
import { attachmentsByVolume, listVolumeNames, listVolumes } from './queries.ts'
import { metadataPairs, type Scope, volumeTotals } from './totals.ts'
import { volumeJson, volumeSummaryJson } from './view.ts'

/** `GET /volumes` and `GET /volumes/detail`. @see block-storage-api specification 1.7–1.9 */
export async function answerVolumeList(
  block: Block,
  request: BlockRequest,
  detail: boolean,
): Promise<Answer> {
  authorize(request.identity, 'volume:get_all')
  const paging = readPaging(request.query, volumeSortColumns, block.settings.osapiMaxLimit)
  const scope = readScope(request)
  const filters = readFilters(block, request, 'volume', volumeFilters)
  const byPair = await alongPair(block, scope, filters, paging)
  const others = filters
    .filter((filter) => filter !== byPair?.filter)
    .map(([name, value]) => volumeCondition(request, block.engine, name, value))
  const within = scopeConditions(scope)
  const conditions =
    byPair === undefined
      ? await plannedConditions(block, within, others)
      : [...within, ...others, ...byPair.conditions]
  let ids: readonly string[]
  let text: string
  if (detail) {
    const rows = await listVolumes(block.db, conditions, paging, byPair?.along)
    const attachments = await attachmentsByVolume(block.db, rows)
    text = rows.map((row) => volumeJson(row, attachments.get(row.id) ?? [], request, 'show')).join()
    ids = rows.map((row) => row.id)
  } else {
    const rows = await listVolumeNames(block.db, conditions, paging, byPair?.along)
    text = rows.map((row) => volumeSummaryJson(row, request)).join()
    ids = rows.map((row) => row.id)
  }
  let count: number | undefined
  if (withCount(request)) {
    count =
      filters.length === 0
        ? (await volumeTotals(block.db, scope)).count
        : await countRows(block.db, byPair?.along.source ?? sql.table('volumes'), conditions)
  }
  const links = nextLink(request, detail ? '/volumes/detail' : '/volumes', { ids, paging, count })
  let body = `{"volumes":[${text}]`
  if (links !== undefined) body += `,"volumes_links":${JSON.stringify(links)}`
  if (count !== undefined) body += `,"count":${count}`
  return { status: 200, body: `${body}}` }
}

/** The caller's project, or all; nobody but admins sees the targets of migrations. */
function readScope(request: BlockRequest): Scope {
  return {
    projectId: allTenants(request) ? undefined : request.projectId,
    withTargets: request.isAdmin,
  }
}

function scopeConditions({ projectId, withTargets }: Scope): Condition[] {
  const conditions: Condition[] = []
  if (projectId !== undefined) conditions.push(sql<SqlBool>`project_id = ${projectId}`)
  if (!withTargets) {
    conditions.push(sql<SqlBool>`(migration_status is null or migration_status not like 'target:%')`)
  }
  return conditions
}

/** `GET /volumes/summary`. @see specification 3.3 */
export async function answerVolumeSummary(block: Block, request: BlockRequest): Promise<Answer> {
  authorize(request.identity, 'volume:get_all')
  const scope = readScope(request)
  const { count, sizeGib } = await volumeTotals(block.db, scope)
  const summary: Record<string, unknown> = { total_count: count, total_size: sizeGib }
  if (request.minor >= 36) {
    const values = new Map<string, string[]>()
    for (const { key, value } of await metadataPairs(block.db, scope)) {
      values.set(key, [...(values.get(key) ?? []), value])
    }
    summary['metadata'] = Object.fromEntries(values)
  }
  return { status: 200, body: { 'volume-summary': summary } }
}

/** A flag of `DELETE /volumes/{id}`. */
export function flag(request: BlockRequest, name: string): boolean {
  const text = request.query.get(name)
  return text !== null && queryBoolean(name, text)
}
