/** Where an image of the Image API lies. @see image-api specification 6.3 */
export interface RbdImageLocation {
  readonly fsid: string
  readonly pool: string
  readonly image: string
  readonly snapshot: string
}

/** `rbd://fsid/pool/image/snapshot`, each part percent-encoded. */
export function formatImageLocation({ fsid, pool, image, snapshot }: RbdImageLocation): string {
  return `rbd://${[fsid, pool, image, snapshot].map(encodeURIComponent).join('/')}`
}

/** Reads `rbd://fsid/pool/image/snapshot`; undefined for everything else, the old one-part form included. */
export function readImageLocation(uri: string): RbdImageLocation | undefined {
  if (!uri.startsWith('rbd://')) return undefined
  const parts = uri.slice('rbd://'.length).split('/').map(decode)
  const [fsid, pool, image, snapshot, ...rest] = parts
  if (!fsid || !pool || !image || !snapshot || rest.length > 0) return undefined
  return { fsid, pool, image, snapshot }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return ''
  }
}
