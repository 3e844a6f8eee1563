import { found, type Probe, type SafetyProblem } from '../probe.ts'
import { incompatible, qcow2Magic } from '../qcow2/header.ts'

/** Bytes of the fixed header, version 2 and version 3. */
const headerBytes = { 2: 72, 3: 104 } as const

/**
 * qcow2: refused are images that make a tool open another file (backing file, external data file) and those
 * that nobody can interpret (unknown version, unknown incompatible feature, short header).
 * @see QEMU docs/interop/qcow2
 */
export function* qcow2Probe(): Probe {
  const header = yield { at: 0, length: headerBytes[3] }
  if (header.byteLength < 8 || header.readUInt32BE(0) !== qcow2Magic) return undefined
  const version = header.readUInt32BE(4)
  if (version !== 2 && version !== 3) {
    return found(0, [{ check: 'version', message: `The qcow2 version ${version} is not supported.` }])
  }
  if (header.byteLength < headerBytes[version]) {
    return found(0, [{ check: 'header', message: 'The qcow2 header is cut short.' }])
  }
  const problems: SafetyProblem[] = []
  if (header.readBigUInt64BE(8) !== 0n) {
    problems.push({ check: 'backing-file', message: 'The qcow2 image has a backing file.' })
  }
  if (version === 3) {
    const features = header.readBigUInt64BE(72)
    if ((features & incompatible.externalData) !== 0n) {
      problems.push({ check: 'data-file', message: 'The qcow2 image has an external data file.' })
    }
    if ((features & ~incompatible.known) !== 0n) {
      problems.push({
        check: 'unknown-features',
        message: 'The qcow2 image has incompatible features that are not known.',
      })
    }
  }
  return found(Number(header.readBigUInt64BE(24)), problems)
}
