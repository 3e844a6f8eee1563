/** What the driver calls things in a pool: the names that Cinder's own driver gives them. */

export const imageName = (volumeId: string) => `volume-${volumeId}`

export const snapshotName = (snapshotId: string) => `snapshot-${snapshotId}`

/** The snapshot of a source that lives while a clone is made of it. */
export const cloneSnapshotName = (volumeId: string) => `${imageName(volumeId)}.clone_snap`

/** Whether a snapshot was such a one, left by a crash or by Cinder's own driver. */
export const isCloneSnapshot = (name: string) => name.endsWith('.clone_snap')

/** Where the old bytes of a volume wait while names are exchanged after a migration. */
export const displacedName = (copyId: string) => `${imageName(copyId)}.displaced`

/** The note of an image that says which volume it is: a migration reads it. */
export const volumeNote = 'emberglass.volume'

/** The snapshot from which a backup is read: Cinder's drivers of backups give it this name too. */
export const momentPrefix = (backupId: string) => `backup.${backupId}.snap.`

/** Whether a snapshot is such a one, of whatever backup. */
export const isMoment = (name: string) => /^backup\.[0-9a-f-]+\.snap\./.test(name)
