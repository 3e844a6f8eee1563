// Stands in for the target of @emberglass/iscsi until that is there; nothing is exported yet.
import type { BlockDevice } from '@emberglass/iscsi'

export interface TargetAccess {
  readonly initiators: readonly string[] | 'any'
  readonly chap?: {
    readonly username: string
    readonly password: string
    readonly mutual?: { readonly username: string; readonly password: string }
  }
}
export interface IscsiTarget {
  readonly name: string
  setAccess(access: TargetAccess): Promise<void>
  addLun(
    lun: number,
    unit: { device: BlockDevice; serial: string; naa?: string; vendor?: string; product?: string },
  ): void
  removeLun(lun: number): Promise<void>
  capacityChanged(lun: number): void
  sessions(): readonly { initiatorName: string; remoteAddress: string; connectedAt: Date }[]
}
export class IscsiServer {
  async listen(portal: { host: string; port: number }): Promise<{ host: string; port: number }> {
    return { host: portal.host, port: portal.port === 0 ? 3260 : portal.port }
  }
  addTarget({ name }: { name: string; access: TargetAccess }): IscsiTarget {
    return {
      name,
      setAccess: async () => {},
      addLun: () => {},
      removeLun: async () => {},
      capacityChanged: () => {},
      sessions: () => [],
    }
  }
  async removeTarget(_name: string): Promise<void> {}
  async close(): Promise<void> {}
}
