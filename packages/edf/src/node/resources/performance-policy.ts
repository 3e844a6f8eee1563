import { type PerformancePolicy, PerformancePolicyInput } from '../../schemas/performance-policy.ts'
import type { NodeContext } from '../context.ts'
import { notFound } from '../errors.ts'
import type { ApiRequest, Route } from '../http/route.ts'
import { type LocatedVolume, locateVolume, volumePath } from './locate.ts'

export type StoredPolicy = Omit<PerformancePolicy, 'path'>

const unlimited: StoredPolicy = {
  total_iops_max: 0,
  read_iops_max: 0,
  write_iops_max: 0,
  total_bandwidth_max: 0,
  read_bandwidth_max: 0,
  write_bandwidth_max: 0,
}

/** The six limits and nothing else. */
export function mergePolicy(before: StoredPolicy | undefined, change: PerformancePolicyInput): StoredPolicy {
  const merged = { ...unlimited, ...before }
  return {
    total_iops_max: change.total_iops_max ?? merged.total_iops_max,
    read_iops_max: change.read_iops_max ?? merged.read_iops_max,
    write_iops_max: change.write_iops_max ?? merged.write_iops_max,
    total_bandwidth_max: change.total_bandwidth_max ?? merged.total_bandwidth_max,
    read_bandwidth_max: change.read_bandwidth_max ?? merged.read_bandwidth_max,
    write_bandwidth_max: change.write_bandwidth_max ?? merged.write_bandwidth_max,
  }
}

/** A policy inside a create: one without any limit is no policy. */
export function inlinePolicy(input: PerformancePolicyInput | undefined): StoredPolicy | undefined {
  if (input === undefined) return undefined
  const policy = mergePolicy(undefined, input)
  return Object.values(policy).some((limit) => limit > 0) ? policy : undefined
}

export function policyView(stored: string, path: string): PerformancePolicy {
  const policy: StoredPolicy = JSON.parse(stored)
  return { path: `${path}/performance_policy`, ...policy }
}

export function performancePolicyRoutes(node: NodeContext): Route[] {
  const path = '/app_instances/:ai/storage_instances/:si/volumes/:vol/performance_policy'
  const answer = (stored: string, own: string) => ({
    data: policyView(stored, own),
    path: `${own}/performance_policy`,
  })
  const located = (request: ApiRequest) => {
    const { ai, si, volume } = locateVolume(node, request)
    return { si, volume, own: volumePath(ai.id, si.name, volume.name) }
  }
  const required = (request: ApiRequest) => {
    const { si, volume, own } = located(request)
    if (volume.performance_policy === null) throw notFound(`${own}/performance_policy`)
    return { si, volume, own, stored: volume.performance_policy }
  }
  /** Counts at once, also for I/O that waits. */
  const store = ({ si, volume }: Pick<LocatedVolume, 'si' | 'volume'>, policy: StoredPolicy | null) => {
    const stored = policy && JSON.stringify(policy)
    node.database.run('UPDATE volume SET performance_policy = ? WHERE seq = ?', stored, volume.seq)
    node.exports.limit(si.uuid, volume.store_id, stored)
  }
  return [
    {
      method: 'GET',
      path,
      summary: 'Read the limits of a volume; 404 when it has none',
      handle: (request) => {
        const { own, stored } = required(request)
        return answer(stored, own)
      },
    },
    {
      method: 'POST',
      path,
      summary: 'Set the limits of a volume, replacing those it has',
      body: PerformancePolicyInput,
      handle: (request) => {
        const found = located(request)
        const policy = mergePolicy(undefined, request.body(PerformancePolicyInput))
        store(found, policy)
        return answer(JSON.stringify(policy), found.own)
      },
    },
    {
      method: 'PUT',
      path,
      summary: 'Change limits of a volume',
      body: PerformancePolicyInput,
      handle: (request) => {
        const found = required(request)
        const policy = mergePolicy(JSON.parse(found.stored), request.body(PerformancePolicyInput))
        store(found, policy)
        return answer(JSON.stringify(policy), found.own)
      },
    },
    {
      method: 'DELETE',
      path,
      summary: 'Remove the limits of a volume',
      handle: (request) => {
        const found = required(request)
        store(found, null)
        return answer(found.stored, found.own)
      },
    },
  ]
}
