import type { Selectable } from 'kysely'
import { Conflict, Forbidden, Invalid, NotFound } from '../../kernel/errors.ts'
import type { ImageMembersTable } from '../db/tables.ts'
import { type Environment, type ImageRequest, requesterOf } from '../environment.ts'
import { findVisible, type VisibleImage } from '../images/access.ts'
import { checkQuota } from '../images/attributes.ts'
import { grantStoreAccess } from '../images/store-access.ts'
import { refuseSurrogates } from '../schemas/image-schemas.ts'

/** A project that an image is shared with. */
export type Member = Selectable<ImageMembersTable>

const notAuthorized = 'You are not authorized to complete this action.'
const onlyShared = 'Only shared images have members.'

/** The owner sees all members, a member only itself. @throws Forbidden when the image is not shared */
export async function listMembers(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
): Promise<readonly Member[]> {
  const found = await findVisible(environment, request, imageId)
  if (found.row.visibility !== 'shared') throw new Forbidden(onlyShared)
  if (!allows(environment, request, 'get_members', found, request.identity.projectId)) {
    throw new Forbidden(notAuthorized)
  }
  const all = environment.db.selectFrom('image_members').selectAll().where('image_id', '=', imageId)
  const seen = seesAll(request, found) ? all : all.where('member', '=', request.identity.projectId ?? '')
  return await seen.orderBy('created_at').orderBy('member').execute()
}

/** @throws NotFound for whatever the caller may not see */
export async function showMember(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  memberId: string,
): Promise<Member> {
  const found = await findVisible(environment, request, imageId)
  const missing = new NotFound(`${memberId} not found in the member list of the image ${imageId}.`)
  if (found.row.visibility !== 'shared') throw missing
  if (!seesAll(request, found) && memberId !== request.identity.projectId) throw missing
  if (!allows(environment, request, 'get_member', found, memberId)) throw missing
  const member = await findMember(environment, imageId, memberId)
  if (member === undefined) throw missing
  return member
}

/** Shares an image with a project, which then has to accept it. @throws Forbidden, Conflict, OverQuota, Invalid */
export async function addMember(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  memberId: unknown,
): Promise<Member> {
  if (typeof memberId !== 'string' || memberId === '') throw new Invalid("Member can't be empty")
  refuseSurrogates(memberId)
  if (memberId.length > 255) throw new Invalid('A member has at most 255 characters.')
  const added = await environment.db.transaction().execute(async (transaction) => {
    const found = await findVisible(environment, request, imageId, { db: transaction, lock: true })
    requireOwner(environment, request, 'add_member', found)
    if (found.row.visibility !== 'shared') throw new Forbidden(onlyShared)
    const members = await transaction
      .selectFrom('image_members')
      .select('member')
      .where('image_id', '=', imageId)
      .execute()
    if (members.some(({ member }) => member === memberId)) {
      throw new Conflict(`Member ${memberId} is duplicated for image ${imageId}`)
    }
    checkQuota(members.length + 1, environment.settings.memberQuota, 'members')
    const now = environment.now().toISOString()
    const member: Member = {
      image_id: imageId,
      member: memberId,
      status: 'pending',
      created_at: now,
      updated_at: now,
    }
    await transaction.insertInto('image_members').values(member).execute()
    return member
  })
  await grantStoreAccess(environment, imageId, { ...request, requester: requesterOf(request) })
  return added
}

const statuses = ['pending', 'accepted', 'rejected'] as const

/** The member project accepts or rejects; the owner cannot do that for it. @throws Forbidden, NotFound, Invalid */
export async function updateMember(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  memberId: string,
  status: unknown,
): Promise<Member> {
  if (status === undefined) throw new Invalid('Status not specified')
  const wanted = statuses.find((known) => known === status)
  const found = await findVisible(environment, request, imageId)
  if (found.row.visibility !== 'shared') throw new Forbidden(onlyShared)
  const member = await findMember(environment, imageId, memberId)
  const canSee = seesAll(request, found) || memberId === request.identity.projectId
  if (member === undefined || !canSee) {
    throw new NotFound(`${memberId} not found in the member list of the image ${imageId}.`)
  }
  if (!allows(environment, request, 'modify_member', found, memberId)) throw new Forbidden(notAuthorized)
  if (wanted === undefined) throw new Invalid(`Status must be one of ${statuses.join(', ')}.`)
  const updated = await environment.db
    .updateTable('image_members')
    .set({ status: wanted, updated_at: environment.now().toISOString() })
    .where('image_id', '=', imageId)
    .where('member', '=', memberId)
    .returningAll()
    .executeTakeFirst()
  if (updated === undefined) {
    throw new NotFound(`${memberId} not found in the member list of the image ${imageId}.`)
  }
  return updated
}

/** @throws Forbidden for everybody but the owner and admins; NotFound */
export async function removeMember(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  memberId: string,
): Promise<void> {
  const found = await findVisible(environment, request, imageId)
  requireOwner(environment, request, 'delete_member', found)
  if (found.row.visibility !== 'shared') throw new Forbidden(onlyShared)
  const removed = await environment.db
    .deleteFrom('image_members')
    .where('image_id', '=', imageId)
    .where('member', '=', memberId)
    .executeTakeFirst()
  if (removed.numDeletedRows === 0n) {
    throw new NotFound(`${memberId} not found in the member list of the image ${imageId}.`)
  }
  await grantStoreAccess(environment, imageId, { ...request, requester: requesterOf(request) })
}

function seesAll(request: ImageRequest, { row }: VisibleImage): boolean {
  return request.isAdmin || row.owner === null || row.owner === request.identity.projectId
}

function requireOwner(
  environment: Environment,
  request: ImageRequest,
  rule: 'add_member' | 'delete_member',
  found: VisibleImage,
): void {
  if (!allows(environment, request, rule, found, undefined)) throw new Forbidden(notAuthorized)
}

function allows(
  environment: Environment,
  request: ImageRequest,
  rule: 'get_members' | 'get_member' | 'modify_member' | 'add_member' | 'delete_member',
  { row }: VisibleImage,
  memberId: string | undefined,
): boolean {
  return environment.policy.allows(rule, request.identity, {
    project_id: row.owner,
    owner: row.owner,
    visibility: row.visibility,
    member_id: memberId,
  })
}

async function findMember(
  environment: Environment,
  imageId: string,
  memberId: string,
): Promise<Member | undefined> {
  return await environment.db
    .selectFrom('image_members')
    .selectAll()
    .where('image_id', '=', imageId)
    .where('member', '=', memberId)
    .executeTakeFirst()
}
