import { type Static, Type } from 'typebox'

const iops = Type.Integer({ minimum: 0, maximum: 10_000_000 })
const bandwidth = Type.Integer({ minimum: 0, maximum: 10_240_000 })

/** Limits of a volume: operations per second and KiB per second; 0 is unlimited. */
export const PerformancePolicy = Type.Object({
  path: Type.Optional(Type.String()),
  total_iops_max: Type.Integer(),
  read_iops_max: Type.Integer(),
  write_iops_max: Type.Integer(),
  total_bandwidth_max: Type.Integer(),
  read_bandwidth_max: Type.Integer(),
  write_bandwidth_max: Type.Integer(),
})
export type PerformancePolicy = Static<typeof PerformancePolicy>

/** Operations per second and KiB per second; 0 removes a limit, what is left out stays. */
export const PerformancePolicyInput = Type.Object({
  total_iops_max: Type.Optional(iops),
  read_iops_max: Type.Optional(iops),
  write_iops_max: Type.Optional(iops),
  total_bandwidth_max: Type.Optional(bandwidth),
  read_bandwidth_max: Type.Optional(bandwidth),
  write_bandwidth_max: Type.Optional(bandwidth),
})
export type PerformancePolicyInput = Static<typeof PerformancePolicyInput>
