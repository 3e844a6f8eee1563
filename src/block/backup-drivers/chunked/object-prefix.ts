import type { BackupPlan } from '../../backup-driver.ts'

/**
 * What the names of a backup's objects begin with, as Cinder's drivers of object stores name them.
 */
export function objectPrefix({ id, volumeId, createdAt }: BackupPlan, availabilityZone: string): string {
  const moment = createdAt.replaceAll(/[-:T]|\..*$/g, '').slice(0, 14)
  return `volume_${volumeId}/${moment}/az_${availabilityZone}_backup_${id}`
}
