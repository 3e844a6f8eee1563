import { randomFillSync, randomInt } from 'node:crypto'
import type { IscsiDisk } from '@emberglass/iscsi/initiator'
import { MiB } from '../../kernel/bytes.ts'
import { Invalid } from '../../kernel/errors.ts'
import { type ConnectOptions, withDisk } from './connect.ts'

export const patterns = ['read', 'write', 'randread', 'randwrite'] as const
export type Pattern = (typeof patterns)[number]

export interface BenchOptions extends ConnectOptions {
  readonly pattern: Pattern
  /** Bytes of one command. */
  readonly blockSize: number
  /** Commands under way at a time. */
  readonly depth: number
  readonly seconds: number
  /** Must be given for the patterns that write: what is on the disk is lost. */
  readonly overwrite: boolean
}

/** Reads or writes a disk for a while, and prints how fast it was. */
export async function bench(url: string, options: BenchOptions): Promise<void> {
  const writes = options.pattern.endsWith('write')
  if (writes && !options.overwrite)
    throw new Invalid(`${options.pattern} destroys what is on the disk: add --overwrite`)
  await withDisk(url, { ...options, readOnly: !writes, queueDepth: options.depth }, async (disk, signal) => {
    const { blockSize } = options
    if (blockSize % disk.blockSize !== 0 || blockSize > disk.sizeBytes) {
      throw new Invalid(
        `commands of ${blockSize} bytes do not fit ${disk.sizeBytes} bytes in blocks of ${disk.blockSize}`,
      )
    }
    const start = performance.now()
    const latenciesMs = await run(disk, options, writes, start + options.seconds * 1000, signal)
    if (writes) await disk.flush({ signal })
    const seconds = (performance.now() - start) / 1000
    process.stdout.write(`${report(latenciesMs, blockSize, seconds)}\n`)
  })
}

/** @returns what each command took */
async function run(
  disk: IscsiDisk,
  { pattern, blockSize, depth }: BenchOptions,
  writes: boolean,
  until: number,
  signal: AbortSignal,
): Promise<number[]> {
  const slots = Math.floor(disk.sizeBytes / blockSize)
  const isRandom = pattern.startsWith('rand')
  const latenciesMs: number[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    const buffer = Buffer.alloc(blockSize)
    if (writes) randomFillSync(buffer)
    while (performance.now() < until) {
      const slot = isRandom ? randomInt(slots) : next++ % slots
      const start = performance.now()
      if (writes) await disk.write(slot * blockSize, buffer, { signal })
      else await disk.read(slot * blockSize, buffer, { signal })
      latenciesMs.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: depth }, lane))
  return latenciesMs
}

function report(latenciesMs: readonly number[], blockSize: number, seconds: number): string {
  const sorted = Float64Array.from(latenciesMs).sort()
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
  const perSecond = sorted.length / seconds
  const latency = [0.5, 0.99, 1].map((share) => `${at(share).toFixed(2)} ms`)
  return [
    `${perSecond.toFixed(0)} commands/s, ${((perSecond * blockSize) / MiB).toFixed(1)} MiB/s`,
    `latency: median ${latency[0]}, 99 % ${latency[1]}, longest ${latency[2]}`,
  ].join('\n')
}
