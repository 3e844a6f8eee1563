import { Invalid } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { last, listOf, type Query } from '../images/filters.ts'
import { parseLimit } from '../images/paging.ts'
import { isVisible, requireRule } from './access.ts'
import { associationsOf } from './associations.ts'
import { namespaceView } from './view.ts'

const sortKeys = ['namespace', 'visibility', 'created_at', 'updated_at', 'id'] as const

/**
 * A page of the namespaces that the caller may see, each with the resource types it is meant for.
 * @returns `next` is the marker of the next page, when there may be one
 * @throws Invalid for wrong filters, orders, limits and markers
 * @see image-api specification 10.1
 */
export async function listNamespaces(
  environment: Environment,
  request: ImageRequest,
  query: Query,
): Promise<{ namespaces: readonly object[]; next: string | undefined }> {
  requireRule(environment, request, 'get_metadef_namespaces')
  const { db } = environment
  const limit = parseLimit(query, environment.settings)
  const key = wordIn('sort_key', last(query['sort_key']) ?? 'created_at', sortKeys)
  const direction = wordIn('sort_dir', last(query['sort_dir']) ?? 'desc', ['asc', 'desc'] as const)
  const visibility = last(query['visibility'])
  if (visibility !== undefined) wordIn('visibility', visibility, ['public', 'private'] as const)
  const types = listOf(query['resource_types']).flatMap((text) => text.split(','))

  let rows = db.selectFrom('metadef_namespaces').selectAll().orderBy(key, direction).orderBy('id', direction)
  if (visibility !== undefined) rows = rows.where('visibility', '=', visibility)
  if (types.length > 0) {
    rows = rows.where((namespaces) =>
      namespaces.exists(
        namespaces
          .selectFrom('metadef_associations')
          .select('metadef_associations.name')
          .whereRef('metadef_associations.namespace_id', '=', 'metadef_namespaces.id')
          .where('metadef_associations.name', 'in', types),
      ),
    )
  }
  const visible = (await rows.execute()).filter((row) => isVisible(environment, request, row))
  const marker = last(query['marker'])
  let start = 0
  if (marker !== undefined) {
    const index = visible.findIndex((row) => row.namespace === marker)
    if (index < 0) throw new Invalid(`Invalid marker: there is no metadata definition namespace ${marker}.`)
    start = index + 1
  }
  const page = visible.slice(start, start + limit)
  const associations = await associationsOf(db, page.map(({ id }) => id)) // biome-ignore format: one thought
  return {
    namespaces: page.map((row) => {
      const bound = associations.get(row.id) ?? []
      return { ...namespaceView(row), ...(bound.length > 0 ? { resource_type_associations: bound } : {}) }
    }),
    next: limit > 0 && page.length === limit ? page.at(-1)?.namespace : undefined,
  }
}

function wordIn<const Word extends string>(name: string, text: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === text)
  if (found === undefined) {
    throw new Invalid(`Invalid ${name}: ${text}. It must be one of the following: ${words.join(', ')}.`)
  }
  return found
}
