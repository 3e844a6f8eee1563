import { attachmentOperations } from './attachments/routes.ts'
import { backupOperations } from './backups/routes.ts'
import { consistencyGroupOperations } from './consistency-groups/routes.ts'
import type { Block } from './context.ts'
import { extensionOperations } from './extensions.ts'
import { groupSnapshotOperations } from './group-snapshots/routes.ts'
import { groupTypeOperations } from './group-types/routes.ts'
import { groupOperations } from './groups/routes.ts'
import { messageOperations } from './messages/routes.ts'
import type { Operation } from './operation.ts'
import { poolOperations } from './pools.ts'
import { qosAssociationOperations } from './qos/associations.ts'
import { qosOperations } from './qos/routes.ts'
import { quotaOperations } from './quotas/routes.ts'
import { resourceFilterOperations } from './resource-filters.ts'
import { cleanupOperations } from './services/cleanup.ts'
import { clusterOperations } from './services/clusters.ts'
import { hostOperations } from './services/hosts.ts'
import { logLevelOperations } from './services/log-levels.ts'
import { replicationOperations } from './services/replication.ts'
import { serviceOperations } from './services/routes.ts'
import { snapshotOperations } from './snapshots/routes.ts'
import { transferOperations } from './transfers/routes.ts'
import { typeDetailOperations } from './types/detail-routes.ts'
import { typeOperations } from './types/routes.ts'
import { volumeActions } from './volumes/actions.ts'
import { manageOperations } from './volumes/manage/routes.ts'
import { volumeOperations } from './volumes/routes.ts'
import { zoneOperations } from './zones.ts'

/** Every operation of the API. */
export function blockOperations(block: Block): readonly Operation[] {
  return [
    ...volumeOperations(block, volumeActions(block)),
    ...manageOperations(block),
    ...snapshotOperations(block),
    ...backupOperations(block),
    ...typeOperations(block),
    ...typeDetailOperations(block),
    ...qosOperations(block),
    ...qosAssociationOperations(block),
    ...attachmentOperations(block),
    ...groupTypeOperations(block),
    ...groupOperations(block),
    ...groupSnapshotOperations(block),
    ...consistencyGroupOperations(block),
    ...transferOperations(block),
    ...quotaOperations(block),
    ...messageOperations(block),
    ...serviceOperations(block),
    ...replicationOperations(block),
    ...logLevelOperations(block),
    ...hostOperations(block),
    ...clusterOperations(),
    ...cleanupOperations(block),
    ...poolOperations(block),
    ...zoneOperations(block),
    ...extensionOperations(),
    ...resourceFilterOperations(block),
  ]
}
