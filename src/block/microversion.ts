import { Invalid } from '../kernel/errors.ts'
import { VersionOutOfRange } from './faults.ts'

/** The microversion range: 3.0 to 3.71. Inside, a version is its minor number. */
export const latestMinor = 71

/**
 * The minor version that a request asks for.
 * @param header the value of `OpenStack-API-Version`, `service version[, service version…]`
 * @throws Invalid when it is malformed or has no item for `volume`; VersionOutOfRange
 * @see block-storage-api specification 1.2
 */
export function requestedMinor(header: string | undefined): number {
  if (header === undefined || header.trim() === '') return 0
  for (const item of header.split(',')) {
    const [service, version = '', ...rest] = item.trim().split(/\s+/)
    if (service?.toLowerCase() !== 'volume' || rest.length > 0) continue
    if (version === 'latest') return latestMinor
    const match = /^([1-9]\d*)\.([1-9]\d*|0)$/.exec(version)
    if (match === null) {
      throw new Invalid(
        `API Version String '${version}' is of invalid format. Must be of format MajorNum.MinorNum.`,
      )
    }
    const minor = Number(match[2])
    if (match[1] !== '3' || minor > latestMinor) {
      throw new VersionOutOfRange(
        `Version ${version} is not supported by the API. Minimum is 3.0 and maximum is 3.${latestMinor}.`,
      )
    }
    return minor
  }
  throw new Invalid(`API Version String '${header}' names no version of the volume service.`)
}
