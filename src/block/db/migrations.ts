import type { Migrations } from '../../kernel/db/migrate.ts'
import * as blockStorage from './migrations/0001-block-storage.ts'
import * as administration from './migrations/0010-administration.ts'
import * as pagesOfVolumes from './migrations/0011-pages-of-volumes.ts'
import * as groupsTransfersMigration from './migrations/0020-groups-transfers-migration.ts'
import * as backups from './migrations/0040-backups.ts'
import * as totalsOfVolumes from './migrations/0050-totals-of-volumes.ts'
import * as rarerPagesOfVolumes from './migrations/0051-rarer-pages-of-volumes.ts'
import * as totalsByHost from './migrations/0052-totals-by-host.ts'

/** The block storage service's tables. Owner name for `migrate`: `block`. */
export const blockMigrations: Migrations = {
  '0001-block-storage': blockStorage,
  '0010-administration': administration,
  '0011-pages-of-volumes': pagesOfVolumes,
  '0020-groups-transfers-migration': groupsTransfersMigration,
  '0040-backups': backups,
  '0050-totals-of-volumes': totalsOfVolumes,
  '0051-rarer-pages-of-volumes': rarerPagesOfVolumes,
  '0052-totals-by-host': totalsByHost,
}
