import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Environment, ImageRequest } from '../environment.ts'
import { findAllowed } from '../images/access.ts'
import { checkQuota } from '../images/attributes.ts'
import { refuseSurrogates } from '../schemas/image-schemas.ts'

/** Adds a tag; one that is there already is fine. @throws Invalid, OverQuota */
export async function addTag(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  tag: string,
): Promise<void> {
  refuseSurrogates(tag)
  if (tag.length > 255) throw new Invalid('A tag has at most 255 characters.')
  await environment.db.transaction().execute(async (transaction) => {
    await findAllowed(environment, request, imageId, 'modify_image', { db: transaction, lock: true })
    const tags = await transaction
      .selectFrom('image_tags')
      .select('value')
      .where('image_id', '=', imageId)
      .execute()
    if (tags.some(({ value }) => value === tag)) return
    checkQuota(tags.length + 1, environment.settings.tagQuota, 'tags')
    await transaction.insertInto('image_tags').values({ image_id: imageId, value: tag }).execute()
    await transaction
      .updateTable('images')
      .set({ updated_at: environment.now().toISOString() })
      .where('id', '=', imageId)
      .execute()
  })
}

/** @throws NotFound when the image does not have the tag */
export async function removeTag(
  environment: Environment,
  request: ImageRequest,
  imageId: string,
  tag: string,
): Promise<void> {
  await environment.db.transaction().execute(async (transaction) => {
    await findAllowed(environment, request, imageId, 'modify_image', { db: transaction, lock: true })
    const removed = await transaction
      .deleteFrom('image_tags')
      .where('image_id', '=', imageId)
      .where('value', '=', tag)
      .executeTakeFirst()
    if (removed.numDeletedRows === 0n) throw new NotFound(`Image ${imageId} does not have the tag '${tag}'.`)
    await transaction
      .updateTable('images')
      .set({ updated_at: environment.now().toISOString() })
      .where('id', '=', imageId)
      .execute()
  })
}
