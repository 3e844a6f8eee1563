import { styleText } from 'node:util'
import { MultiBar, Presets } from 'cli-progress'

/** Tells a person how far a step is, and afterwards what each took. */
export class TourReport {
  readonly #steps: { name: string; milliseconds: number; bytes: number | undefined }[] = []
  readonly #interactive = process.stdout.isTTY === true

  /**
   * Runs a step under a progress bar; on a terminal that cannot draw, it is one line when it is done.
   * @param totalBytes how much data it moves, for the bar and the rate
   */
  async step<Result>(
    name: string,
    totalBytes: number | undefined,
    work: (onBytes: (done: number) => void) => Promise<Result>,
  ): Promise<Result> {
    const bars = this.#interactive
      ? new MultiBar(
          { format: `  ${name.padEnd(46)} {bar} {percentage} %`, hideCursor: true, clearOnComplete: true },
          Presets.shades_grey,
        )
      : undefined
    const bar = bars?.create(totalBytes ?? 1, 0)
    const start = performance.now()
    try {
      const result = await work((done) => bar?.update(done))
      const milliseconds = performance.now() - start
      bars?.stop()
      this.#steps.push({ name, milliseconds, bytes: totalBytes })
      process.stdout.write(`  ${styleText('green', '✔')} ${line(name, milliseconds, totalBytes)}\n`)
      return result
    } catch (error) {
      bars?.stop()
      process.stdout.write(`  ${styleText('red', '✘')} ${name}\n`)
      throw error
    }
  }

  /** The last line. */
  summary(): string {
    const total = this.#steps.reduce((sum, step) => sum + step.milliseconds, 0)
    return `${this.#steps.length} steps, every checksum right, ${(total / 1e3).toFixed(1)} s`
  }
}

function line(name: string, milliseconds: number, bytes: number | undefined): string {
  const rate = bytes === undefined ? '' : `${(bytes / 1e3 / milliseconds).toFixed(0)} MB/s`
  return `${name.padEnd(46)} ${`${milliseconds.toFixed(0)} ms`.padStart(9)}  ${rate.padStart(10)}`
}
