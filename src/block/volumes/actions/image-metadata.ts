import { NotFound } from '../../../kernel/errors.ts'
import type { Block } from '../../context.ts'
import type { BlockRequest } from '../../operation.ts'
import { authorize, type Rule } from '../../policy.ts'
import { stringMapOf } from '../../types/queries.ts'
import { getVolume, lockVolume, updateVolume } from '../queries.ts'

type StringMap = Readonly<Record<string, string>>

export async function showImageMetadata(block: Block, request: BlockRequest, id: string): Promise<StringMap> {
  const volume = await getVolume(block.db, request, id)
  authorize(request.identity, 'volume_extension:volume_image_metadata:show', volume.project_id)
  return stringMapOf(volume.image_metadata)
}

/** Adds to the image metadata. @returns all of it */
export async function setImageMetadata(
  block: Block,
  request: BlockRequest,
  id: string,
  more: StringMap,
): Promise<StringMap> {
  const rule = 'volume_extension:volume_image_metadata:set'
  return await change(block, request, id, rule, (before) => ({ ...before, ...more }))
}

/** @throws NotFound when there is no such key */
export async function unsetImageMetadata(
  block: Block,
  request: BlockRequest,
  id: string,
  key: string,
): Promise<void> {
  await change(block, request, id, 'volume_extension:volume_image_metadata:remove', (before) => {
    if (!Object.hasOwn(before, key)) {
      throw new NotFound(`Volume ${id} has no glance metadata with key ${key}.`)
    }
    return Object.fromEntries(Object.entries(before).filter(([name]) => name !== key))
  })
}

async function change(
  block: Block,
  request: BlockRequest,
  id: string,
  rule: Rule,
  changed: (before: StringMap) => StringMap,
): Promise<StringMap> {
  return await block.db.transaction().execute(async (transaction) => {
    const volume = await lockVolume(transaction, request, id)
    authorize(request.identity, rule, volume.project_id)
    const after = changed(stringMapOf(volume.image_metadata))
    const empty = Object.keys(after).length === 0
    await updateVolume(transaction, id, { image_metadata: empty ? null : JSON.stringify(after) })
    return after
  })
}
