/** Longest name of an app instance that drivers use. (Datera drivers specification, section 3.) */
const longestName = 63

/** Words that would make a name look like something else of ours. */
const reserved = new Set(['IMAGE', 'MIGRATED', 'TMP'])

/**
 * `OS-<display name>-<volume id>`: the display name is filtered and cut, prefix and id are kept. The id alone when
 * nothing is left, or when the display name only repeats it.
 */
export function appInstanceName(volumeId: string, displayName: string): string {
  const plain = `OS-${volumeId}`
  if (displayName.includes(volumeId)) return plain
  const room = longestName - plain.length - 1
  const filtered = displayName.replace(/[^A-Za-z0-9._-]/g, '').slice(0, Math.max(room, 0))
  return filtered === '' || reserved.has(filtered) ? plain : `OS-${filtered}-${volumeId}`
}

/** What a migration within the array has left, until it is deleted. */
export function migratedName(copyId: string): string {
  return `OS-MIGRATED-${copyId}`
}

/** What is on the array of a volume that is not ours any more. */
export function unmanagedName(volumeId: string): string {
  return `UNMANAGED-${volumeId}`
}

/** A copy of an image that the driver keeps. */
export function cachedImageName(imageId: string): string {
  return `OS-${imageId}`
}

const uuidPattern = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/i

/** The id in a name that we may have given: of a volume, an image, a backup. */
export function idInName(name: string): string | undefined {
  return uuidPattern.exec(name)?.[0].toLowerCase()
}

/** Whether an app instance's name is one that a volume may have, or has had. */
export function isNameOfVolume(name: string, volumeId: string): boolean {
  if (name === `OS-${volumeId}` || name === `UNMANAGED-${volumeId}`) return true
  return name.startsWith('OS-') && name.endsWith(`-${volumeId}`) && name !== `OS-IMAGE-${volumeId}`
}

/** What is remembered of a volume: where it lies, and as what. */
export interface Location {
  /** Absent: no tenant header. */
  readonly tenant: string | undefined
  readonly appInstanceId: string
}

/** `<tenant>|<app instance id>`. */
export function formatLocation({ tenant, appInstanceId }: Location): string {
  return `${tenant ?? ''}|${appInstanceId}`
}

/** `undefined` for texts that are none of ours. */
export function parseLocation(text: string | undefined): Location | undefined {
  const bar = text?.indexOf('|') ?? -1
  if (text === undefined || bar < 0) return undefined
  const tenant = text.slice(0, bar)
  const appInstanceId = text.slice(bar + 1)
  return appInstanceId === '' ? undefined : { tenant: tenant === '' ? undefined : tenant, appInstanceId }
}
