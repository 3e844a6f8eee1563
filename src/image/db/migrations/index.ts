import type { Migrations } from '../../../kernel/db/migrate.ts'
import { images } from './0001-images.ts'
import { tasksMetadefsCache } from './0010-tasks-metadefs-cache.ts'

/** The image service's tables. Owner name for `migrate`: `image`. */
export const imageMigrations: Migrations = {
  '0001-images': images,
  '0010-tasks-metadefs-cache': tasksMetadefsCache,
}
