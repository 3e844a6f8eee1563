/**
 * What differs between the versions of the EDF REST API, and between product versions: as data, so that client and
 * node share one code path for all of them. (EDF API specification, sections 1.2, 1.8 and 4.)
 */

/** All versions there are, oldest first; the client speaks all but `2`. */
export const apiVersions = ['2', '2.1', '2.2', '2.3'] as const
/** As in the path: `/v2.2/…`. */
export type ApiVersion = (typeof apiVersions)[number]

/** What a version does in its own way. */
export interface VersionTraits {
  /** Answers are wrapped in `{tenant, path, version, data}`; otherwise the object itself is the answer. */
  readonly envelope: boolean
  /** Children and collections are objects keyed by name, and references bare strings. */
  readonly keyedCollections: boolean
  /** The `tenant` header selects a tenant; without it everything happens in `/root`. */
  readonly tenants: boolean
  /** Lists come in pages, with `{total_count, request_count, limit, offset}`; otherwise whole, with `{total}`. */
  readonly paging: boolean
  /** `POST /initiators` of a tenant's first initiator asks for `force`. */
  readonly initiatorForce: boolean
  /** `POST /app_instances` knows `template_override`. */
  readonly templateOverride: boolean
  /** How a storage template shows its `ip_pool`. */
  readonly templateIpPool: 'string' | 'object'
  /** How `/system` shows `ntp_servers`. */
  readonly ntpServers: 'objects' | 'strings'
  /** How a tenant shows `subtenants`. */
  readonly subtenants: 'objects' | 'strings'
  /** What a secret reads as. */
  readonly hiddenSecret: string
}

const latest: VersionTraits = {
  envelope: true,
  keyedCollections: false,
  tenants: true,
  paging: true,
  initiatorForce: true,
  templateOverride: true,
  templateIpPool: 'object',
  ntpServers: 'strings',
  subtenants: 'strings',
  hiddenSecret: '(hidden)',
}

const first: VersionTraits = {
  ...latest,
  paging: false,
  initiatorForce: false,
  templateOverride: false,
  templateIpPool: 'string',
  ntpServers: 'objects',
  subtenants: 'objects',
}

/** The traits of each version. */
export const versions: Readonly<Record<ApiVersion, VersionTraits>> = {
  '2': { ...first, envelope: false, keyedCollections: true, tenants: false, hiddenSecret: '' },
  '2.1': first,
  '2.2': latest,
  '2.3': latest,
}

/** Product version (`sw_version`) from which a feature exists. */
export const productGates = {
  /** Metadata is read and written as `/app_instances/{id}/int_ecosystem_data`, wrapped in `{data}`. */
  intEcosystemData: '3.3.0.0',
  /** `placement_policy` beside `placement_mode`, media and placement policies. */
  placementPolicy: '3.3.0.0',
  /** Filtered lists are paged and counted correctly. */
  filteredPaging: '3.3.0.0',
} as const

/** `"3.3.0.0"`: exactly four numbers of 0–99; the Python SDK fails on anything else. */
export const swVersionPattern = /^\d{1,2}\.\d{1,2}\.\d{1,2}\.\d{1,2}$/

/** Negative, zero or positive, as for sorting. @throws RangeError unless both are four dot-separated numbers */
export function compareSwVersions(a: string, b: string): number {
  return weight(a) - weight(b)
}

/** Whether a product has a feature. @throws RangeError unless the version is four dot-separated numbers */
export function productHas(swVersion: string, feature: keyof typeof productGates): boolean {
  return compareSwVersions(swVersion, productGates[feature]) >= 0
}

function weight(version: string): number {
  if (!swVersionPattern.test(version)) throw new RangeError(`"${version}" is not a version like "3.3.0.0"`)
  return version.split('.').reduce((sum, field) => sum * 100 + Number(field), 0)
}
