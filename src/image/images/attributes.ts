import { Forbidden, Invalid, OverQuota } from '../../kernel/errors.ts'

/** What only the service sets. */
export const readOnlyAttributes: ReadonlySet<string> = new Set([
  'created_at',
  'updated_at',
  'status',
  'checksum',
  'size',
  'virtual_size',
  'direct_url',
  'self',
  'file',
  'schema',
  'stores',
  'id',
  'os_hash_algo',
  'os_hash_value',
])

const reservedNames: ReadonlySet<string> = new Set(['location', 'deleted', 'deleted_at'])

/** @throws Forbidden for names that no client may use, on creation and in patches */
export function refuseReserved(name: string): void {
  if (reservedNames.has(name) || name.startsWith('os_glance')) {
    throw new Forbidden(`Attribute '${name}' is reserved.`)
  }
}

/** @throws Forbidden for what the service sets itself */
export function refuseReadOnly(name: string): void {
  if (readOnlyAttributes.has(name)) throw new Forbidden(`Attribute '${name}' is read-only.`)
}

/** @param quota -1 for no limit. @throws OverQuota */
export function checkQuota(count: number, quota: number, what: string): void {
  if (quota >= 0 && count > quota) {
    throw new OverQuota(
      `The limit has been exceeded on the number of allowed image ${what}. Attempted: ${count}, Maximum: ${quota}`,
    )
  }
}

/** A list of tags without repetitions, sorted. @throws Invalid, OverQuota */
export function normalTags(tags: readonly string[], quota: number): readonly string[] {
  const unique = [...new Set(tags)].sort()
  for (const tag of unique) if (tag.length > 255) throw new Invalid('A tag has at most 255 characters.')
  checkQuota(unique.length, quota, 'tags')
  return unique
}

/** What a caller is told who may not do that with a property. */
export function protectedProperty(name: string): Forbidden {
  return new Forbidden(`Property '${name}' is protected`)
}
