import type { Db } from '../../kernel/db/database.ts'
import { Forbidden, NotFound } from '../../kernel/errors.ts'
import type { ImageTables } from '../db/tables.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import type { PolicyRule } from '../policy.ts'
import { findRow, type Image, type ImageRow, isMember, withDetails } from './queries.ts'

/** A visible image, and whether the caller's project is one of its members. */
export interface VisibleImage {
  readonly row: ImageRow
  readonly memberId: string | undefined
}

export function noSuchImage(imageId: string): NotFound {
  return new NotFound(`No image found with ID ${imageId}`)
}

/**
 * Finds an image that the caller may see by its id.
 * @throws NotFound for one that is not there, or not for the caller's eyes
 * @see image-api specification 2.5, 7.9
 */
export async function findVisible(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  options: { db?: Db<ImageTables>; lock?: boolean } = {},
): Promise<VisibleImage> {
  const db = options.db ?? environment.db
  const row = await findRow(db, imageId, { lock: options.lock ?? false })
  if (row === undefined) throw noSuchImage(imageId)
  const { projectId } = request.identity
  const isOwner = row.owner === null || row.owner === projectId
  const memberId =
    !isOwner &&
    row.visibility === 'shared' &&
    projectId !== undefined &&
    (await isMember(db, imageId, projectId))
      ? projectId
      : undefined
  const visible =
    request.isAdmin ||
    isOwner ||
    memberId !== undefined ||
    row.visibility === 'public' ||
    row.visibility === 'community'
  const found = { row, memberId }
  if (!visible || !environment.policy.allows('get_image', request.identity, targetOf(found))) {
    throw noSuchImage(imageId)
  }
  return found
}

/** The same, with a rule that the caller must pass. @throws NotFound, Forbidden */
export async function findAllowed(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  rule: PolicyRule,
  options: { db?: Db<ImageTables>; lock?: boolean } = {},
): Promise<VisibleImage> {
  const found = await findVisible(environment, request, imageId, options)
  requireAllowed(environment, request, rule, found)
  return found
}

/** @throws Forbidden unless the caller passes the rule for an image that is visible already */
export function requireAllowed(
  environment: Environment,
  request: ImageRequest,
  rule: PolicyRule,
  found: VisibleImage,
): void {
  if (!environment.policy.allows(rule, request.identity, targetOf(found))) {
    throw new Forbidden('You are not authorized to complete this action.')
  }
}

function targetOf({ row, memberId }: VisibleImage) {
  return { project_id: row.owner, owner: row.owner, member_id: memberId, visibility: row.visibility }
}

/** The image with its properties, tags and locations. */
export async function detailed(db: Db<ImageTables>, row: ImageRow): Promise<Image> {
  const [image] = await withDetails(db, [row])
  if (image === undefined) throw noSuchImage(row.id)
  return image
}
