import type { Probe, SafetyProblem } from '../probe.ts'

const entryOffset = 446
const entryBytes = 16
const protectiveType = 0xee

/**
 * A disk with a partition table: master boot record, and the protective one of a GPT (UEFI 2.10 section 5.2).
 * A FAT boot sector carries the same signature and is not meant.
 */
export function* gptProbe(): Probe {
  const sector = yield { at: 0, length: 512 }
  if (sector.byteLength < 512 || sector.readUInt16LE(510) !== 0xaa55) return undefined
  if (sector[0x10] === 2 && sector[0x15] === 0xf8) return undefined
  return { virtualSizeBytes: (streamBytes) => streamBytes, problems: checkEntries(sector) }
}

function checkEntries(sector: Buffer): readonly SafetyProblem[] {
  const problem = (message: string) => [{ check: 'mbr', message }]
  const used: number[] = []
  let protective = false
  for (let index = 0; index < 4; index += 1) {
    const entry = sector.subarray(entryOffset + index * entryBytes, entryOffset + (index + 1) * entryBytes)
    const bootFlag = entry[0]
    if (bootFlag !== 0 && bootFlag !== 0x80) {
      return problem(`Partition entry ${index} has an invalid boot flag.`)
    }
    const type = entry[4]
    if (type !== 0) used.push(index)
    if (type !== protectiveType) continue
    protective = true
    if (entry.readUIntBE(1, 3) !== 0x000200) {
      return problem('The protective partition does not start at cylinder 0, head 0, sector 2.')
    }
    if (entry.readUInt32LE(8) !== 1) return problem('The protective partition does not start at block 1.')
  }
  if (used.length === 0) return problem('The partition table has no entries.')
  if (protective && (used.length !== 1 || used[0] !== 0)) {
    return problem('The protective partition is not the first and only one.')
  }
  return []
}
