import { randomUUID } from 'node:crypto'
import type { Block } from '../context.ts'

/** Tells everybody who shares the database that this process and its backends are alive. */
export async function recordHeartbeat(block: Block, host: string): Promise<void> {
  const now = block.now().toISOString()
  const alive = [
    {
      host,
      binary: 'cinder-scheduler',
      availability_zone: block.settings.storageAvailabilityZone,
      backend_state: null,
    },
    {
      host,
      binary: 'cinder-backup',
      availability_zone: block.settings.storageAvailabilityZone,
      backend_state: block.backups.isUp ? 'up' : 'down',
    },
    ...block.backends.all.map((backend) => ({
      host: backend.host,
      binary: 'cinder-volume',
      availability_zone: backend.availabilityZone,
      backend_state: backend.state === 'up' ? 'up' : 'down',
    })),
  ]
  await block.db
    .insertInto('volume_services')
    .values(
      alive.map((service) => ({
        ...service,
        id: randomUUID(),
        disabled: 0,
        disabled_reason: null,
        frozen: 0,
        replication_status: null,
        active_backend_id: null,
        created_at: now,
        updated_at: now,
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(['host', 'binary']).doUpdateSet((excluded) => ({
        availability_zone: excluded.ref('excluded.availability_zone'),
        backend_state: excluded.ref('excluded.backend_state'),
        updated_at: now,
      })),
    )
    .execute()
}
