import type { CapabilityProperty } from '../../volume-driver.ts'
import { type Policy, type PolicyName, policyKinds } from './policies.ts'

/** Titles are those of the published driver: dashboards show them. */
const texts: Readonly<Record<PolicyName, readonly [title: string, description: string]>> = {
  iops_per_gb: [
    'Datera IOPS Per GB Setting',
    'Limit of operations per second that grows with the size: 100 gives 1 GB 100, and 10 GB 1000. ' +
      'It counts as total_iops_max, or total_iops_max where that is less. 0 switches it off.',
  ],
  bandwidth_per_gb: [
    'Datera Bandwidth Per GB Setting',
    'Limit of KiB per second that grows with the size. It counts as total_bandwidth_max, or ' +
      'total_bandwidth_max where that is less. 0 switches it off.',
  ],
  placement_mode: [
    'Datera Volume Placement Mode (deprecated)',
    'Media of the replicas; products from 3.3 on take DF:placement_policy instead.',
  ],
  placement_policy: [
    'Datera Volume Placement Policy',
    'Name or path of the placement policy; products from 3.3 on.',
  ],
  round_robin: [
    'Datera Round Robin Portals',
    'Spread hosts over the portals of a target, instead of naming the same one first to all.',
  ],
  replica_count: ['Datera Volume Replica Count', 'Copies of the data. There can be more later, never fewer.'],
  ip_pool: [
    'Datera IP Pool',
    'Access network pool of the target; of several, separated by commas, the one in the network of the host.',
  ],
  template: ['Datera Template', 'App template from which volumes are made; empty for none.'],
  read_bandwidth_max: ['Datera QoS Max Bandwidth Read', 'KiB read per second at most, 0 for no limit.'],
  write_bandwidth_max: ['Datera QoS Max Bandwidth Write', 'KiB written per second at most, 0 for no limit.'],
  total_bandwidth_max: ['Datera QoS Max Bandwidth Total', 'KiB per second at most, 0 for no limit.'],
  read_iops_max: ['Datera QoS Max iops Read', 'Reads per second at most, 0 for no limit.'],
  write_iops_max: ['Datera QoS Max IOPS Write', 'Writes per second at most, 0 for no limit.'],
  total_iops_max: ['Datera QoS Max IOPS Total', 'Operations per second at most, 0 for no limit.'],
}

/** The `DF:` settings as the capabilities call publishes them. @param defaults the driver-wide policy */
export function vendorProperties(defaults: Policy): Readonly<Record<string, CapabilityProperty>> {
  const names = Object.keys(texts) as PolicyName[] // `texts` has exactly the settings
  return Object.fromEntries(names.map((name) => [`DF:${name}`, property(name, defaults[name])]))
}

function property(name: PolicyName, value: string | number | boolean): CapabilityProperty {
  const [title, description] = texts[name]
  const kind = policyKinds[name]
  if (kind.type === 'integer') {
    return { title, description, type: 'integer', minimum: kind.min, maximum: kind.max, default: value }
  }
  if (kind.type === 'boolean') return { title, description, type: 'boolean', default: value }
  const words = kind.words === undefined ? {} : { enum: kind.words }
  return { title, description, type: 'string', ...words, default: value }
}
