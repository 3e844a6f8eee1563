/**
 * Times of snapshots, `"<seconds>.<nine digits>"`: strictly increasing, also when the machine's clock steps back, for
 * they are the snapshots' keys and their order.
 */
export class SnapshotClock {
  #last: bigint
  readonly #now: () => number

  /** @param last the newest time that was given out before, if any */
  constructor(last: string | undefined, now: () => number = Date.now) {
    this.#last = last === undefined ? 0n : BigInt(last.replace('.', ''))
    this.#now = now
  }

  next(): string {
    const now = BigInt(Math.trunc(this.#now())) * 1_000_000n
    this.#last = now > this.#last ? now : this.#last + 1n
    return formatTime(this.#last)
  }
}

function formatTime(nanoseconds: bigint): string {
  const digits = nanoseconds.toString().padStart(10, '0')
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`
}

/** The time of now in the same form, for events. */
export function timestampOf(date: Date): string {
  return formatTime(BigInt(date.getTime()) * 1_000_000n)
}
