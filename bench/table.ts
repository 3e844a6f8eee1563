/** One row of the result: what, how much, and the peer beside it. */
export interface Row {
  readonly what: string
  readonly ours: string
  /** Which peer, and what it reached in the same run. */
  readonly peer?: string
  /** Ours divided by the peer's, where more is better. */
  readonly ratio?: number
}

/** Prints rows as a table that is also Markdown. */
export function printTable(title: string, rows: readonly Row[]): void {
  const cells = rows.map((row) => [row.what, row.ours, row.peer ?? '', row.ratio?.toFixed(2) ?? ''])
  const header = ['what', 'Emberglass', 'peer in the same run', 'ratio']
  const widths = header.map((name, column) =>
    Math.max(name.length, ...cells.map((row) => row[column]?.length ?? 0)),
  )
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  process.stdout.write(
    `\n### ${title}\n\n${line(header)}\n|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|\n`,
  )
  for (const row of cells) process.stdout.write(`${line(row)}\n`)
}

export const megabytesPerSecond = (bytes: number, milliseconds: number): number =>
  bytes / 1e6 / (milliseconds / 1e3)

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}
