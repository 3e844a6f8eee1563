import { createHash } from 'node:crypto'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { InvalidState } from '../errors.ts'
import { PreconditionFailed } from '../faults.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize, type Rule } from '../policy.ts'
import { stringMapOf } from '../types/queries.ts'
import { getVolume, lockVolume, updateVolume } from './queries.ts'

type StringMap = Readonly<Record<string, string>>

export async function showMetadata(block: Block, request: BlockRequest, id: string): Promise<StringMap> {
  const volume = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume:get_volume_metadata', volume.project_id)
  return stringMapOf(volume.metadata)
}

/** The tag of a metadata answer: the digest of its body exactly as sent. @see specification 1.10 */
export function metadataTag(metadata: StringMap): string {
  return createHash('md5').update(JSON.stringify({ metadata })).digest('hex')
}

/**
 * Changes a volume's metadata, all of it at once.
 * @param change from the old metadata to the new
 * @throws NotFound, Forbidden, InvalidState; PreconditionFailed when `If-Match` names another state
 */
export async function changeMetadata(
  block: Block,
  request: BlockRequest,
  id: string,
  rule: Rule,
  change: (metadata: StringMap) => StringMap,
): Promise<StringMap> {
  return await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, rule, volume.project_id)
    if (volume.status === 'maintenance' || volume.status === 'uploading') {
      throw new InvalidState(
        `Invalid volume: The volume metadata cannot be changed when the volume is in ${volume.status} status.`,
      )
    }
    const before = stringMapOf(volume.metadata)
    const wanted = request.headers['if-match']
    if (
      request.minor >= 15 &&
      typeof wanted === 'string' &&
      wanted.replaceAll('"', '') !== metadataTag(before)
    ) {
      throw new PreconditionFailed('The metadata has changed.')
    }
    const after = change(before)
    await updateVolume(transaction, id, {
      metadata: JSON.stringify(after),
      updated_at: block.now().toISOString(),
    })
    return after
  })
}

/** One item. @throws NotFound when there is none of that key */
export function metadataItem(metadata: StringMap, key: string): StringMap {
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined
  if (value === undefined) throw new NotFound(`Metadata item with key ${key} was not found.`)
  return { [key]: value }
}

/** The one pair in the body of a PUT on an item. @throws Invalid when it names another key, or several */
export function onlyItem(meta: StringMap, key: string): StringMap {
  const keys = Object.keys(meta)
  if (keys.length > 1) throw new Invalid('Request body contains too many items')
  if (keys[0] !== key) throw new Invalid('Request body and URI mismatch')
  return meta
}

export function without(metadata: StringMap, key: string): StringMap {
  metadataItem(metadata, key)
  return Object.fromEntries(Object.entries(metadata).filter(([name]) => name !== key))
}
