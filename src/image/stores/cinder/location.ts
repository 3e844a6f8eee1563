import { Invalid } from '../../../kernel/errors.ts'

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** `cinder://<store>/<volume>`, or `cinder://<volume>` where stores have no names. */
export function formatLocation(store: string | undefined, volumeId: string): string {
  return store === undefined ? `cinder://${volumeId}` : `cinder://${store}/${volumeId}`
}

/** The volume of a location, in either form. @throws Invalid */
export function parseLocation(location: string): string {
  const volumeId = /^cinder:\/\/(?:[^/]+\/)?([^/]+)$/.exec(location)?.[1]
  if (volumeId === undefined || !uuidPattern.test(volumeId)) {
    throw new Invalid('The location is not one of a Cinder store: cinder://store/volume.')
  }
  return volumeId
}
