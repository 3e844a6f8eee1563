import type { BlockDevice, Extent } from '@emberglass/iscsi/device'
import { MiB } from '../../../kernel/bytes.ts'
import type { ByteExtent } from '../../backup-driver.ts'

/** A device is asked for so much at once, and the newest few answers are kept. */
const windowBytes = 256 * MiB
const keptWindows = 4

/** What a device knows to be zeroes without reading it. It does not change meanwhile. */
export class KnownZeroes {
  readonly #device: BlockDevice
  readonly #windows = new Map<number, Promise<readonly Extent[]>>()

  constructor(device: BlockDevice) {
    this.#device = device
  }

  /** Whether a range holds nothing but zeroes; false too when the device cannot tell. */
  async cover({ offset, length }: ByteExtent, call: { readonly signal: AbortSignal }): Promise<boolean> {
    if (this.#device.extents === undefined) return false
    const end = offset + length
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / windowBytes)
      const until = Math.min(end, (index + 1) * windowBytes)
      const hasData = (extent: Extent) =>
        extent.state === 'data' && extent.offset < until && extent.offset + extent.length > at
      if ((await this.#window(index, call)).some(hasData)) return false
      at = until
    }
    return true
  }

  #window(index: number, call: { readonly signal: AbortSignal }): Promise<readonly Extent[]> {
    const known = this.#windows.get(index)
    if (known !== undefined) return known
    const asked = this.#ask(index, call)
    this.#windows.set(index, asked)
    asked.catch(() => this.#windows.delete(index))
    const [oldest] = this.#windows.keys()
    if (this.#windows.size > keptWindows && oldest !== undefined) this.#windows.delete(oldest)
    return asked
  }

  async #ask(index: number, call: { readonly signal: AbortSignal }): Promise<readonly Extent[]> {
    const offset = index * windowBytes
    const length = Math.min(windowBytes, this.#device.sizeBytes - offset)
    return (await this.#device.extents?.(offset, length, call)) ?? [{ offset, length, state: 'data' }]
  }
}
