import { found, type Probe } from '../probe.ts'

/** QEMU enhanced disk: obsolete, may name a backing file, and always refused. */
export function* qedProbe(): Probe {
  const header = yield { at: 0, length: 4 }
  if (header.toString('latin1') !== 'QED\0') return undefined
  return found(0, [{ check: 'format', message: 'Images in the qed format are not allowed.' }])
}
