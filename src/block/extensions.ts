import { NotFound } from '../kernel/errors.ts'
import { type Operation, parameter } from './operation.ts'

/** What upstream still lists as extensions. @see specification 3.12 */
const extensions: Readonly<Record<string, string>> = {
  'os-admin-actions': 'AdminActions',
  'os-availability-zone': 'AvailabilityZones',
  backups: 'Backups',
  capabilities: 'Capabilities',
  cgsnapshots: 'Cgsnapshots',
  consistencygroups: 'Consistencygroups',
  'os-extended-services': 'ExtendedServices',
  'os-extended-snapshot-attributes': 'ExtendedSnapshotAttributes',
  'os-hosts': 'Hosts',
  'qos-specs': 'Qos_specs_manage',
  'os-quota-class-sets': 'QuotaClasses',
  'os-quota-sets': 'Quotas',
  'OS-SCH-HNT': 'SchedulerHints',
  'scheduler-stats': 'Scheduler_stats',
  'os-services': 'Services',
  'os-snapshot-actions': 'SnapshotActions',
  'os-snapshot-manage': 'SnapshotManage',
  'os-snapshot-unmanage': 'SnapshotUnmanage',
  'os-types-extra-specs': 'TypesExtraSpecs',
  'os-types-manage': 'TypesManage',
  'os-used-limits': 'UsedLimits',
  'os-volume-actions': 'VolumeActions',
  'os-volume-encryption-metadata': 'VolumeEncryptionMetadata',
  'os-vol-host-attr': 'VolumeHostAttribute',
  'os-vol-image-meta': 'VolumeImageMetadata',
  'os-volume-manage': 'VolumeManage',
  'os-vol-mig-status-attr': 'VolumeMigStatusAttribute',
  'os-vol-tenant-attr': 'VolumeTenantAttribute',
  'os-volume-transfer': 'VolumeTransfer',
  'os-volume-type-access': 'VolumeTypeAccess',
  encryption: 'VolumeTypeEncryption',
  'os-volume-unmanage': 'VolumeUnmanage',
}

const view = (alias: string, name: string) => ({
  alias,
  name,
  description: `${name} of the Block Storage API.`,
  updated: '2016-01-01T00:00:00+00:00',
  links: [],
})

/** `/extensions`. */
export function extensionOperations(): readonly Operation[] {
  return [
    {
      method: 'GET',
      path: '/extensions',
      run: async () => ({
        status: 200,
        body: { extensions: Object.entries(extensions).map(([alias, name]) => view(alias, name)) },
      }),
    },
    {
      method: 'GET',
      path: '/extensions/:alias',
      async run(request) {
        const alias = parameter(request, 'alias')
        const name = Object.hasOwn(extensions, alias) ? extensions[alias] : undefined
        if (name === undefined) throw new NotFound(`Extension ${alias} could not be found.`)
        return { status: 200, body: { extension: view(alias, name) } }
      },
    },
  ]
}
