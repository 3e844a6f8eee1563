import { Invalid } from '../../../kernel/errors.ts'

/** A file on a datastore. */
export interface DatastoreFile {
  readonly host: string
  readonly datacenter: string
  readonly datastore: string
  /** Without a slash at its beginning. */
  readonly path: string
}

/** The path and query under which a server serves a file. */
export function pathOf({ datacenter, datastore, path }: DatastoreFile): string {
  const query = new URLSearchParams({ dcPath: datacenter, dsName: datastore })
  return `/folder/${path.split('/').map(encodeURIComponent).join('/')}?${query}`
}

/** `vsphere://<host>/folder/<directory>/<id>?dcPath=…&dsName=…`. */
export function formatLocation(file: DatastoreFile): string {
  return `vsphere://${file.host}${pathOf(file)}`
}

/** @throws Invalid */
export function parseLocation(location: string): DatastoreFile {
  const [, host, path, query] = /^vsphere:\/\/([^/?#]+)\/folder\/([^?#]+)\?(.+)$/.exec(location) ?? []
  const values = new URLSearchParams(query)
  const datastore = values.get('dsName')
  if (host === undefined || path === undefined || datastore === null) {
    throw new Invalid(
      'The location is not one of a VMware store: vsphere://host/folder/path?dcPath=…&dsName=….',
    )
  }
  let decoded: string
  try {
    decoded = decodeURIComponent(path)
  } catch (cause) {
    throw new Invalid('The path of the location is not encoded as URLs are.', { cause })
  }
  if (decoded.split('/').includes('..')) throw new Invalid('The location leads out of its folder.')
  return { host, datacenter: values.get('dcPath') ?? 'ha-datacenter', datastore, path: decoded }
}
