import { type Cancel, type Done, type Extent, MemoryDevice } from '../block-device.ts'
import { IscsiServer } from '../target/server.ts'
import { diskConformance, REAL_DISK_BYTES } from './disk.conformance.ts'

const granuleBytes = 4096
const targetName = 'iqn.2026-01.test:own'

/** A disk in memory that knows which of its bytes were ever written. */
class ThinMemoryDevice extends MemoryDevice {
  readonly #allocated = new Set<number>()

  override write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    for (const granule of granules(offset, data.byteLength)) this.#allocated.add(granule)
    return super.write(offset, data, cancel)
  }

  override async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    for (const granule of granules(offset, length)) this.#allocated.delete(granule)
    await super.unmap(offset, length, cancel)
  }

  async extents(offset: number, length: number): Promise<readonly Extent[]> {
    const extents: { offset: number; length: number; state: Extent['state'] }[] = []
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, at - (at % granuleBytes) + granuleBytes)
      const state = this.#allocated.has(Math.floor(at / granuleBytes)) ? 'data' : 'hole'
      const last = extents.at(-1)
      if (last?.state === state) last.length += end - at
      else extents.push({ offset: at, length: end - at, state })
      at = end
    }
    return extents
  }
}

function* granules(offset: number, length: number): Generator<number> {
  for (let at = Math.floor(offset / granuleBytes); at * granuleBytes < offset + length; at += 1) yield at
}

diskConformance({
  name: 'the target of this package',
  skip: undefined,
  digests: true,
  thin: true,
  remembersNexus: true,
  async start({ chap }) {
    const server = new IscsiServer()
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    const access = { initiators: ['iqn.2026-01.test:initiator'], ...(chap === undefined ? {} : { chap }) }
    const target = server.addTarget({ name: targetName, access })
    target.addLun(0, { device: new ThinMemoryDevice(REAL_DISK_BYTES), serial: 'test-disk' })
    return { port, targetName, lun: 0, [Symbol.asyncDispose]: () => server.close() }
  },
})
