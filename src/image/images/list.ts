import { type Expression, type ExpressionBuilder, type SqlBool, sql } from 'kysely'
import { Forbidden, Invalid } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { type ColumnFilter, type Filters, last, parseFilters, type Query } from './filters.ts'
import { nullableSortKeys, parseLimit, parseSort, type SortTerm } from './paging.ts'
import { type Image, type ImageRow, withDetails } from './queries.ts'

type Images = ExpressionBuilder<ImageTables, 'images'>

/**
 * A page of the images that the caller may see.
 * @returns `next` is the marker of the next page, when there may be one
 * @throws Invalid for wrong filters, orders, limits and markers
 * @see image-api specification 1.8, 1.9, 1.10
 */
export async function listImages(
  environment: Environment,
  request: ImageRequest,
  query: Query,
): Promise<{ images: readonly Image[]; next: string | undefined }> {
  const { db, policy, settings } = environment
  if (!policy.allows('get_images', request.identity, { project_id: request.identity.projectId })) {
    throw new Forbidden('You are not authorized to complete this action.')
  }
  const filters = parseFilters(query)
  const sort = parseSort(query)
  const limit = parseLimit(query, settings)
  const markerId = last(query['marker'])
  const marker = markerId === undefined ? undefined : await findMarker(environment, request, markerId)
  if (limit === 0) return { images: [], next: undefined }

  let rows = db
    .selectFrom('images')
    .selectAll()
    .where('deleted_at', 'is', null)
    .where('status', 'not in', ['killed', 'pending_delete'])
    .where((images) => images.and(conditions(images, filters)))
    .where((images) => visibleTo(images, request, filters))
    .limit(limit)
  if (marker !== undefined) rows = rows.where((images) => after(images, sort, marker))
  for (const { key, direction } of sort) {
    rows = rows.orderBy(key, (order) => {
      const directed = direction === 'asc' ? order.asc() : order.desc()
      if (!nullableSortKeys.has(key)) return directed
      return direction === 'asc' ? directed.nullsFirst() : directed.nullsLast()
    })
  }
  const images = await withDetails(db, await rows.execute())
  return { images, next: images.length === limit ? images.at(-1)?.id : undefined }
}

async function findMarker(environment: Environment, request: ImageRequest, id: string): Promise<ImageRow> {
  const row = await environment.db
    .selectFrom('images')
    .selectAll()
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .where((images) => visibleTo(images, request, { visibility: 'all', memberStatus: 'all' }))
    .executeTakeFirst()
  if (row === undefined) throw new Invalid(`Invalid marker: there is no image ${id}.`)
  return row
}

/** Which images a caller finds in a list. */
function visibleTo(
  images: Images,
  request: ImageRequest,
  filters: Pick<Filters, 'visibility' | 'memberStatus'>,
): Expression<SqlBool> {
  const { visibility, memberStatus } = filters
  const projectId = request.identity.projectId
  const own = images.or([
    images('owner', 'is', null),
    ...(projectId === undefined ? [] : [images('owner', '=', projectId)]),
  ])
  const sharedWith =
    projectId === undefined
      ? images.lit(false)
      : images.and([
          images('visibility', '=', 'shared'),
          images.exists(
            images
              .selectFrom('image_members')
              .select('image_members.image_id')
              .whereRef('image_members.image_id', '=', 'images.id')
              .where('image_members.member', '=', projectId)
              .$if(memberStatus !== 'all', (members) =>
                members.where('image_members.status', '=', memberStatus),
              ),
          ),
        ])
  const mine = images.or([own, sharedWith])
  switch (visibility) {
    case 'public':
    case 'community':
      return images('visibility', '=', visibility)
    case 'private':
    case 'shared':
      return images.and([images('visibility', '=', visibility), ...(request.isAdmin ? [] : [mine])])
    case 'all':
      return request.isAdmin
        ? images.lit(true)
        : images.or([mine, images('visibility', 'in', ['public', 'community'])])
    default:
      return request.isAdmin
        ? images.or([own, images('visibility', '!=', 'community')])
        : images.or([mine, images('visibility', '=', 'public')])
  }
}

function conditions(images: Images, filters: Filters): Expression<SqlBool>[] {
  return [
    images('os_hidden', '=', filters.hidden ? 1 : 0),
    ...filters.columns.map((filter) => columnCondition(images, filter)),
    ...filters.tags.map((tag) =>
      images.exists(
        images
          .selectFrom('image_tags')
          .select('image_tags.image_id')
          .whereRef('image_tags.image_id', '=', 'images.id')
          .where('image_tags.value', '=', tag),
      ),
    ),
    ...Object.entries(filters.properties).map(([name, value]) =>
      images.exists(
        images
          .selectFrom('image_properties')
          .select('image_properties.image_id')
          .whereRef('image_properties.image_id', '=', 'images.id')
          .where('image_properties.name', '=', name)
          .where('image_properties.value', '=', value),
      ),
    ),
  ]
}

function columnCondition(images: Images, filter: ColumnFilter): Expression<SqlBool> {
  if ('values' in filter) {
    const [only] = filter.values
    return filter.values.length === 1 && only !== undefined
      ? images(filter.column, '=', only)
      : filter.values.length === 0
        ? images.lit(false)
        : images(filter.column, 'in', [...filter.values])
  }
  switch (filter.column) {
    case 'protected':
      return images('protected', '=', filter.value)
    case 'created_at':
    case 'updated_at':
      // times are compared as they are shown: in whole seconds
      return sql<SqlBool>`substr(${sql.ref(`images.${filter.column}`)}, 1, 19) ${sql.raw(filter.comparison)} ${filter.value.slice(0, 19)}`
    default:
      return images(filter.column, filter.comparison, filter.value)
  }
}

/** What comes after the marker: null is the smallest value, on both engines. */
function after(images: Images, sort: readonly SortTerm[], marker: ImageRow): Expression<SqlBool> {
  const alternatives: Expression<SqlBool>[] = []
  const equal: Expression<SqlBool>[] = []
  for (const { key, direction } of sort) {
    const value = marker[key]
    if (value !== null) {
      const beyond = images(key, direction === 'asc' ? '>' : '<', value)
      const further =
        direction === 'desc' && nullableSortKeys.has(key)
          ? images.or([beyond, images(key, 'is', null)])
          : beyond
      alternatives.push(images.and([...equal, further]))
      equal.push(images(key, '=', value))
    } else {
      if (direction === 'asc') alternatives.push(images.and([...equal, images(key, 'is not', null)]))
      equal.push(images(key, 'is', null))
    }
  }
  return images.or(alternatives)
}
