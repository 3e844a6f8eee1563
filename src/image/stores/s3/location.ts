import { Invalid } from '../../../kernel/errors.ts'

/** What a location says. */
export interface S3Location {
  readonly host: string
  readonly bucket: string
  readonly key: string
}

/** `s3://host/bucket/key`, or `s3+https://…`; never with keys in it. */
export function formatLocation(secure: boolean, host: string, bucket: string, key: string): string {
  return `${secure ? 's3+https' : 's3'}://${host}/${bucket}/${key}`
}

/**
 * Reads also older forms, which carry `access:secret@`; those keys are not used.
 * @throws Invalid, without telling the location: it may hold a secret
 */
export function parseLocation(location: string): S3Location {
  const found = /^s3(?:\+https?)?:\/\/(?:.*@)?([^/@]+)\/([^/]+)\/(.+)$/.exec(location)
  const [, host, bucket, key] = found ?? []
  if (host === undefined || bucket === undefined || key === undefined) {
    throw new Invalid('The location is not one of an S3 store: s3://host/bucket/key.')
  }
  return { host, bucket, key }
}
