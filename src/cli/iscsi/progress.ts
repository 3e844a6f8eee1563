import { Presets, SingleBar } from 'cli-progress'
import { MiB } from '../../kernel/bytes.ts'

/** A bar on the terminal's error output while bytes move; nothing where that is no terminal. */
export async function withProgress<Result>(
  totalBytes: number | undefined,
  work: (onBytes: (done: number) => void) => Promise<Result>,
): Promise<Result> {
  if (process.stderr.isTTY !== true || totalBytes === undefined || totalBytes === 0) return work(() => {})
  const bar = new SingleBar(
    { format: '{bar} {percentage} %  {value} of {total} MiB  {eta_formatted} left', stream: process.stderr },
    Presets.shades_grey,
  )
  bar.start(Math.ceil(totalBytes / MiB), 0)
  try {
    return await work((done) => bar.update(Math.floor(done / MiB)))
  } finally {
    bar.stop()
  }
}

/** `1234 bytes in 1.2 s, 3 MiB/s`: the last line of a transfer. */
export function transferLine(bytes: number, milliseconds: number): string {
  const rate = bytes / MiB / (Math.max(1, milliseconds) / 1000)
  return `${bytes} bytes in ${(milliseconds / 1000).toFixed(1)} s, ${rate.toFixed(0)} MiB/s`
}
