import type { Transaction } from 'kysely'
import { Invalid } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { backendOf } from '../scheduler/pools.ts'
import { lockVolume, updateVolume } from '../volumes/queries.ts'
import { type GroupApi, type GroupRow, lockGroup, updateGroup, volumeTypesOf } from './queries.ts'

const addable = ['available', 'in-use']
const removable = ['available', 'in-use', 'error', 'error_deleting']

/** What `PUT /groups/{id}` may change. Lists are ids with commas between. */
export interface GroupChanges {
  readonly name: string | null | undefined
  readonly description: string | null | undefined
  readonly addVolumes: string | undefined
  readonly removeVolumes: string | undefined
}

/**
 * Renames a group, and moves volumes into and out of it.
 * @throws NotFound, Forbidden, InvalidState, Invalid @see block-storage-api specification 4.6
 */
export async function updateGroupFacts(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  id: string,
  changes: GroupChanges,
): Promise<void> {
  await block.db.transaction().execute(async (transaction) => {
    const group = await lockGroup(transaction, request, api, id)
    authorize(request.identity, 'group:update', group.project_id)
    if (group.status !== 'available') {
      throw new InvalidState(
        `Invalid group: Group ${id} status must be available to update, and it is ${group.status}.`,
      )
    }
    const { name, description } = changes
    const add = idsIn(changes.addVolumes)
    const remove = idsIn(changes.removeVolumes)
    const both = add.find((volumeId) => remove.includes(volumeId))
    if (both !== undefined) {
      throw new Invalid(
        `Invalid volume: Volume ${both} is in both the add volumes list and the remove volumes list.`,
      )
    }
    const renames = name !== undefined && name !== group.name
    const redescribes = description !== undefined && description !== group.description
    if (!renames && !redescribes && add.length === 0 && remove.length === 0) {
      throw new Invalid(
        `Invalid input received: Cannot update group ${id} because no valid name, description, add_volumes, or remove_volumes were provided.`,
      )
    }
    for (const volumeId of add) await addMember(transaction, request, group, volumeId)
    for (const volumeId of remove) await removeMember(transaction, request, group, volumeId)
    await updateGroup(transaction, id, {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
      updated_at: block.now().toISOString(),
    })
  })
}

function idsIn(list: string | undefined): readonly string[] {
  return [...new Set((list ?? '').split(',').map((id) => id.trim()))].filter((id) => id !== '')
}

async function addMember(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  group: GroupRow,
  volumeId: string,
): Promise<void> {
  const volume = await lockVolume(transaction, request, volumeId)
  if (volume.group_id === group.id) return
  const refuse = (why: string) =>
    new InvalidState(`Invalid volume: Cannot add volume ${volumeId} to group ${group.id} because ${why}.`)
  if (volume.project_id !== group.project_id) throw refuse('it belongs to another project')
  if (volume.group_id !== null) throw refuse(`it is already in group ${volume.group_id}`)
  const types = (await volumeTypesOf(transaction, [group.id])).get(group.id) ?? []
  if (volume.volume_type_id === null || !types.includes(volume.volume_type_id)) {
    throw refuse('its volume type is not supported by the group')
  }
  if (!addable.includes(volume.status)) throw refuse(`its status is ${volume.status}`)
  if (volume.host === null || group.host === null || backendOf(volume.host) !== backendOf(group.host)) {
    throw refuse('it is on another backend')
  }
  await updateVolume(transaction, volumeId, { group_id: group.id })
}

async function removeMember(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  group: GroupRow,
  volumeId: string,
): Promise<void> {
  const volume = await lockVolume(transaction, request, volumeId)
  const refuse = (why: string) =>
    new InvalidState(
      `Invalid volume: Cannot remove volume ${volumeId} from group ${group.id} because ${why}.`,
    )
  if (volume.group_id !== group.id) throw refuse('it is not in the group')
  if (!removable.includes(volume.status)) throw refuse(`its status is ${volume.status}`)
  await updateVolume(transaction, volumeId, { group_id: null })
}
