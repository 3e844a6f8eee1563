import { MiB } from '../../kernel/bytes.ts'
import { type ConnectOptions, withDisk } from './connect.ts'

/** Prints what a disk says of itself. */
export async function inq(url: string, options: ConnectOptions): Promise<void> {
  await withDisk(url, { ...options, readOnly: true }, async (disk) => {
    const { identity, portal } = disk
    const facts: readonly (readonly [string, string])[] = [
      ['vendor', identity.vendor],
      ['product', identity.product],
      ['revision', identity.revision],
      ['serial number', identity.serial],
      ['size', `${disk.sizeBytes} bytes (${(disk.sizeBytes / MiB).toFixed(1)} MiB)`],
      ['block size', `${disk.blockSize} bytes`],
      ['gives space back', disk.unmap === undefined ? 'no' : 'yes (UNMAP)'],
      ['allocation map', disk.extents === undefined ? 'no' : 'yes (GET LBA STATUS)'],
      ['write protected', disk.writeProtected ? 'yes' : 'no'],
      ['portal', portal === undefined ? '' : `${portal.host}:${portal.port}`],
    ]
    for (const [name, value] of facts) process.stdout.write(`${`${name}:`.padEnd(18)}${value}\n`)
  })
}
