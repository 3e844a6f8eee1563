/** Drivers that operators know, whether they exist here or are enabled or not. */
const knownKeys = ['datera', 'ceph', 'swift', 's3', 'nfs', 'posix', 'glusterfs', 'gcs', 'google']

/** What stands before the first `_` of a backup's name, when that is the key of a driver. */
export function keyInName(name: string | null, enabled: readonly string[]): string | undefined {
  const underscore = name?.indexOf('_') ?? -1
  if (name === null || underscore <= 0) return undefined
  const key = name.slice(0, underscore).toLowerCase()
  return enabled.includes(key) || knownKeys.includes(key) ? key : undefined
}

/**
 * The driver for a new backup: by its name, when the Datera driver manages others beside it.
 * @param dispatching whether names decide at all
 * @returns a key, also of a driver that is not enabled: the backup then fails and says so
 * @see datera-drivers specification 5.7
 */
export function chooseHandler(
  name: string | null,
  drivers: { readonly primary: string; readonly enabled: readonly string[]; readonly dispatching: boolean },
): string {
  if (!drivers.dispatching) return drivers.primary
  return keyInName(name, drivers.enabled) ?? drivers.primary
}
