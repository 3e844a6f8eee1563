import { Misconfigured } from '../kernel/errors.ts'

/** TCP ports of one instance. */
export interface Ports {
  readonly identity: number
  readonly blockStorage: number
  readonly image: number
  readonly edfHttp: number
  readonly edfHttps: number
  readonly iscsi: number
}

const upstreamPorts: Ports = {
  identity: 5000,
  blockStorage: 8776,
  image: 9292,
  edfHttp: 7717,
  edfHttps: 7718,
  iscsi: 3260,
}

/** How many ports a block reserves, so that a later listener needs no second block. */
const blockSize = 10

/**
 * Upstream's ports, or a block of ten that starts at `base`: identity, block storage, image, EDF http, EDF
 * https, iSCSI, in this order.
 * @throws Misconfigured when the block does not fit
 */
export function portsFrom(base: number | undefined): Ports {
  if (base === undefined) return upstreamPorts
  if (!Number.isInteger(base) || base < 1024 || base + blockSize > 65_536) {
    throw new Misconfigured(`--port-base must be a number from 1024 to ${65_536 - blockSize}, not ${base}.`)
  }
  return {
    identity: base,
    blockStorage: base + 1,
    image: base + 2,
    edfHttp: base + 3,
    edfHttps: base + 4,
    iscsi: base + 5,
  }
}
