import { randomUUID } from 'node:crypto'
import type { Transaction } from 'kysely'
import { type Block, enqueue } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import { InvalidState } from '../errors.ts'
import { lockGroupSnapshot, membersOfGroupSnapshot } from '../group-snapshots/queries.ts'
import { getGroupType } from '../group-types/queries.ts'
import { notifyGroup } from '../notifications/groups.ts'
import type { BlockRequest } from '../operation.ts'
import { authorize } from '../policy.ts'
import { claimQuota } from '../quotas/limits.ts'
import type { CreateVolumePayload } from '../volumes/create.ts'
import { emptyVolume } from '../volumes/empty-volume.ts'
import { findVolume, insertVolume, type VolumeRow } from '../volumes/queries.ts'
import { insertGroup } from './create.ts'
import { type GroupApi, type GroupRow, lockGroup, membersOf, volumeTypesOf } from './queries.ts'

/** What a group is made from. */
export type GroupSource =
  | { readonly kind: 'group'; readonly id: string }
  | { readonly kind: 'group snapshot'; readonly id: string }

/** One volume of the new group, and where its bytes come from. */
interface Copy {
  readonly volume: VolumeRow
  readonly snapshotId: string | null
  readonly sizeGib: number
}

/**
 * Records a copy of a group, or of its snapshot, with one job for each volume. The last of them makes it available.
 * @throws NotFound, Forbidden, InvalidState, OverQuota @see block-storage-api specification 4.6, 5.13
 */
export async function createGroupFromSource(
  block: Block,
  request: BlockRequest,
  api: GroupApi,
  source: GroupSource,
  names: { name: string | null; description: string | null },
): Promise<GroupRow> {
  authorize(request.identity, 'group:create')
  const made = await block.db.transaction().execute(async (transaction) => {
    const { origin, copies } = await copiesOf(transaction, request, api, source)
    const id = randomUUID()
    const groupType = await getGroupType(transaction, { ...request, isAdmin: true }, origin.group_type_id)
    await claimQuota(transaction, block.settings, request.projectId, { groups: 1, typeName: null })
    const row = await insertGroup(block, transaction, {
      id,
      request,
      groupType,
      volumeTypeIds: (await volumeTypesOf(transaction, [origin.id])).get(origin.id) ?? [],
      name: names.name,
      description: names.description,
      zone: origin.availability_zone,
      host: origin.host,
      from: source.kind === 'group' ? { sourceGroupId: source.id } : { groupSnapshotId: source.id },
    })
    for (const copy of copies) await copyMember(block, transaction, request, id, copy)
    return row
  })
  notifyGroup(block, 'create.start', made)
  return made
}

async function copiesOf(
  transaction: Transaction<Tables>,
  request: BlockRequest,
  api: GroupApi,
  source: GroupSource,
): Promise<{ origin: GroupRow; copies: readonly Copy[] }> {
  const refuse = (why: string) =>
    new InvalidState(`Invalid group: Cannot create a group from ${source.kind} ${source.id}: ${why}.`)
  if (source.kind === 'group') {
    const origin = await lockGroup(transaction, request, api, source.id)
    if (origin.status !== 'available') throw refuse(`its status is ${origin.status}`)
    const members = await membersOf(transaction, origin.id)
    if (members.length === 0) throw refuse('it is empty')
    return {
      origin,
      copies: members.map((volume) => ({ volume, snapshotId: null, sizeGib: volume.size_gib })),
    }
  }
  const snapshot = await lockGroupSnapshot(transaction, request, api, source.id)
  if (snapshot.status !== 'available') throw refuse(`its status is ${snapshot.status}`)
  const origin = await lockGroup(transaction, { ...request, isAdmin: true }, api, snapshot.group_id)
  const copies: Copy[] = []
  for (const member of await membersOfGroupSnapshot(transaction, snapshot.id)) {
    const volume = await findVolume(transaction, member.volume_id)
    if (volume !== undefined) copies.push({ volume, snapshotId: member.id, sizeGib: member.size_gib })
  }
  if (copies.length === 0) throw refuse('it is empty')
  return { origin, copies }
}

async function copyMember(
  block: Block,
  transaction: Transaction<Tables>,
  request: BlockRequest,
  groupId: string,
  { volume, snapshotId, sizeGib }: Copy,
): Promise<void> {
  const type = await transaction
    .selectFrom('volume_types')
    .select('name')
    .where('id', '=', volume.volume_type_id ?? '')
    .executeTakeFirst()
  await claimQuota(transaction, block.settings, request.projectId, {
    volumes: 1,
    gigabytes: sizeGib,
    volumeSizeGib: sizeGib,
    typeName: type?.name ?? null,
  })
  const id = randomUUID()
  await insertVolume(transaction, {
    ...emptyVolume,
    id,
    project_id: request.projectId,
    user_id: request.identity.userId,
    name: null,
    description: null,
    size_gib: sizeGib,
    availability_zone: volume.availability_zone,
    volume_type_id: volume.volume_type_id,
    snapshot_id: snapshotId,
    source_volume_id: snapshotId === null ? volume.id : null,
    group_id: groupId,
    bootable: volume.bootable,
    multiattach: volume.multiattach,
    encryption_key_id: volume.encryption_key_id,
    metadata: '{}',
    image_metadata: volume.image_metadata,
    created_at: block.now().toISOString(),
  })
  const payload: CreateVolumePayload = { volumeId: id, imageId: null }
  await enqueue(block, transaction, 'volume.create', {
    resource: `volume:${volume.id}`, // in turn with whatever happens to the source
    payload,
    requestId: request.requestId,
  })
}
