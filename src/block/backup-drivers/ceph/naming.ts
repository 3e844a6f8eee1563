/** What the driver calls things in a pool: the names that Cinder's own driver gives them. */

/** The image that holds a full backup and, as its snapshots, the increments on it. */
export const baseName = (volumeId: string, backupId: string) => `volume-${volumeId}.backup.${backupId}`

/** The image of differential backups that drivers before Cinder 15 have made. */
const oldBaseName = (volumeId: string) => `volume-${volumeId}.backup.base`

/** The snapshot that is the backup. @param createdAt ISO-8601 */
export const snapshotName = (backupId: string, createdAt: string) =>
  `backup.${backupId}.snap.${(Date.parse(createdAt) / 1000).toFixed(2)}`

export const isSnapshotOf = (backupId: string, name: string) => name.startsWith(`backup.${backupId}.snap.`)

/** The object with the volume's facts. */
export const factsName = (backupId: string) => `backup.${backupId}.meta`

/** What the name of the object with the digests begins with; Cinder's driver has no such object. */
export const digestsPrefix = (backupId: string) => `backup.${backupId}`

/** `service_metadata` of a backup. */
export const prefixOf = (base: string) => JSON.stringify({ base })

/** Where a backup may lie, by its `service_metadata`: what it says, or else where others have put theirs. */
export function basesOf(backup: {
  readonly id: string
  readonly volumeId: string
  readonly prefix: string
}): readonly string[] {
  const base = baseIn(backup.prefix)
  return base === undefined ? [baseName(backup.volumeId, backup.id), oldBaseName(backup.volumeId)] : [base]
}

export function baseIn(prefix: string): string | undefined {
  try {
    const base: unknown = Reflect.get(Object(JSON.parse(prefix)), 'base')
    return typeof base === 'string' && base !== '' ? base : undefined
  } catch {
    return undefined
  }
}
