/** A target with the LUNs that libiscsi's suite is run on. */
import { IscsiServer } from '@emberglass/iscsi'
import { suiteTest, type Verdict } from './libiscsi.fixture.ts'
import { ThinDevice } from './thin-device.fixture.ts'

const NAME = 'iqn.2026-01.test:suite'
const MiB = 1048576

/** Tests that look at what only blocks larger than the logical ones show. */
const WANTS_LARGE_PHYSICAL_BLOCKS = /InvalidDataOutSize|UnmapUnaligned/

/** Why the packaged suite (1.19) cannot pass a test, with any target. */
export const CLIENT_DEFECTS: ReadonlyMap<string, string> = new Map([
  [
    'iSCSI.iSCSITMF.LUNResetSimpleAsync',
    'it asserts that the answer was there before it was asked for; fails in the same way with tgtd',
  ],
  [
    'SCSI.ReportSupportedOpcodes.OneCommand',
    'it takes the refusal that it asks for as a sign that the command is not implemented; so with tgtd',
  ],
])

/** Tests that skip themselves because of what a unit does not claim to have. */
export const NOT_CLAIMED: ReadonlyMap<RegExp, string> = new Map([
  [/^SCSI\.(?:PreventAllow\.|StartStopUnit\.Simple)/, 'the medium is not removable'],
  [/^SCSI\.WriteAtomic16\./, 'a power failure may cut a write in two'],
  [
    /^SCSI\.Sanitize\.(?!InvalidServiceAction)/,
    'a thin store cannot promise that nothing is left of the data',
  ],
  [/^SCSI\.Sanitize\.InvalidServiceAction/, 'no SANITIZE'],
  [/^SCSI\.NoMedia\./, 'the medium is not removable'],
])

export class SuiteTarget implements AsyncDisposable {
  readonly #server: IscsiServer
  readonly #portals: readonly number[]

  private constructor(server: IscsiServer, portals: readonly number[]) {
    this.#server = server
    this.#portals = portals
  }

  static async start(blockSize = 512): Promise<SuiteTarget> {
    const server = new IscsiServer()
    const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
    const device = () => new ThinDevice(128 * MiB, blockSize)
    target.addLun(0, { device: device(), serial: 'suite-0' })
    target.addLun(1, { device: device(), serial: 'suite-1', physicalBlockSize: 8 * blockSize })
    target.addLun(2, { device: device(), serial: 'suite-2', readOnly: true })
    const first = await server.listen({ host: '127.0.0.1', port: 0 })
    const second = await server.listen({ host: '127.0.0.1', port: 0, portalGroupTag: 2 })
    return new SuiteTarget(server, [first.port, second.port])
  }

  /** Runs one test, on the LUN that it is made for. */
  run(name: string): Promise<Verdict> {
    const url = (lun: number, portal = 0) => `iscsi://127.0.0.1:${this.#portals[portal]}/${NAME}/${lun}`
    if (name.startsWith('SCSI.MultipathIO.')) return suiteTest(name, url(0, 0), url(0, 1))
    if (name.startsWith('SCSI.ReadOnly.')) return suiteTest(name, url(2))
    return suiteTest(name, url(WANTS_LARGE_PHYSICAL_BLOCKS.test(name) ? 1 : 0))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close()
  }
}
