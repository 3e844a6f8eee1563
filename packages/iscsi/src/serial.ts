/** Serial number arithmetic on 32 bits (RFC 1982), as CmdSN, StatSN, DataSN and R2TSN are compared. */

export function serialAdd(serial: number, count: number): number {
  return (serial + count) >>> 0
}

/** How far `to` is ahead of `from`: negative when it lies behind. */
export function serialDistance(from: number, to: number): number {
  return (to - from) | 0
}

export function serialLess(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}
