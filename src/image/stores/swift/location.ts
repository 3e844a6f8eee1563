import { Invalid } from '../../../kernel/errors.ts'

/** What a location says. */
export type SwiftLocation =
  /** In the account that a section of the reference file opens. */
  | {
      readonly kind: 'reference'
      readonly reference: string
      readonly container: string
      readonly object: string
    }
  /** In the account that the credentials in the location open: how older stores wrote it. */
  | {
      readonly kind: 'credentials'
      readonly authUrl: string
      /** `project:user`. */
      readonly user: string
      readonly key: string
      readonly container: string
      readonly object: string
    }
  /** In a requester's account. */
  | {
      readonly kind: 'account'
      readonly storageUrl: string
      readonly container: string
      readonly object: string
    }

export function referenceLocation(reference: string, container: string, object: string): string {
  return `swift+config://${reference}/${container}/${object}`
}

/** @param storageUrl of the account, without a slash at the end */
export function accountLocation(storageUrl: string, container: string, object: string): string {
  return `swift+${storageUrl}/${container}/${object}`
}

/**
 * `swift+config://reference/container/id`; `swift+http(s)://project%3Auser:key@host/path/container/id`;
 * `swift+http(s)://host/path/container/id`. `swift://` is the same as `swift+https://`.
 * @throws Invalid, without telling the location: it may hold a secret
 */
export function parseLocation(location: string): SwiftLocation {
  const found = /^swift(\+https?|\+config)?:\/\/(.+)\/([^/]+)\/([^/]+)$/.exec(location)
  const [, scheme = '+https', head, container, object] = found ?? []
  if (head === undefined || container === undefined || object === undefined) throw notOurs()
  if (scheme === '+config') {
    if (head.includes('/') || head.includes('@')) throw notOurs()
    return { kind: 'reference', reference: head, container, object }
  }
  const url = `${scheme.slice(1)}://${head}`
  if (!URL.canParse(url)) throw notOurs()
  const { username, password } = new URL(url)
  if (username === '') return { kind: 'account', storageUrl: url, container, object }
  const authUrl = `${scheme.slice(1)}://${head.slice(head.lastIndexOf('@') + 1)}`
  const [user, key] = [decodeURIComponent(username), decodeURIComponent(password)]
  return { kind: 'credentials', authUrl, user, key, container, object }
}

function notOurs(): Invalid {
  return new Invalid('The location is not one of a Swift store: swift+config://reference/container/id.')
}

/**
 * The container of an image.
 * @param seed characters of its id that choose the container, not counting dashes; 0 is one for all
 */
export function containerOf(prefix: string, imageId: string, seed: number): string {
  if (seed === 0) return prefix
  let end = 0
  for (let counted = 0; counted < seed && end < imageId.length; end += 1) {
    if (imageId[end] !== '-') counted += 1
  }
  return `${prefix}_${imageId.slice(0, end)}`
}
