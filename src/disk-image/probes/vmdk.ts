import { type Finding, found, type Probe, type SafetyProblem } from '../probe.ts'

const sectorBytes = 512
const maxDescriptorBytes = 1024 * 1024 - 1
const maxTypeLength = 63
const grainDirectoryAtEnd = 0xffff_ffff_ffff_ffffn
const allowedTypes: ReadonlySet<string> = new Set(['monolithicsparse', 'streamoptimized'])

/**
 * VMDK: refused is every subformat but the two that keep all data in one file, and every descriptor that could
 * name another file on the host (CVE-2022-47951).
 * @see VMware Virtual Disk Format 1.1; image-api specification 7.2
 */
export function* vmdkProbe(): Probe {
  const header = yield { at: 0, length: sectorBytes }
  if (header.subarray(0, 4).toString('latin1') !== 'KDMV') return yield* textDescriptorProbe(header)
  if (header.byteLength < sectorBytes) return found(0, [problem('header', 'its header is cut short')])
  const version = header.readUInt32LE(4)
  if (version < 1 || version > 3) return undefined

  const virtualSizeBytes = Number(header.readBigUInt64LE(12)) * sectorBytes
  const descriptorAt = header.readBigUInt64LE(28) * BigInt(sectorBytes)
  const descriptorBytes = header.readBigUInt64LE(36) * BigInt(sectorBytes)
  if (descriptorAt !== BigInt(sectorBytes)) {
    return found(virtualSizeBytes, [problem('descriptor', 'its descriptor does not begin at byte 512')])
  }
  if (descriptorBytes < 1n || descriptorBytes > BigInt(maxDescriptorBytes)) {
    return found(virtualSizeBytes, [problem('descriptor', 'its descriptor has a forbidden length')])
  }
  const descriptor = yield { at: sectorBytes, length: Number(descriptorBytes) }
  const problems: SafetyProblem[] = []
  const fault = descriptorProblem(descriptor)
  if (fault !== undefined) problems.push(fault)
  if (header.readBigUInt64LE(56) === grainDirectoryAtEnd) {
    const footer = footerProblem(header, yield { last: 3 * sectorBytes })
    if (footer !== undefined) problems.push(footer)
  }
  return found(virtualSizeBytes, problems)
}

/** A file that is nothing but a text descriptor: all its data would lie elsewhere, so it is always refused. */
function* textDescriptorProbe(
  start: Buffer,
): Generator<{ at: number; length: number }, Finding | undefined, Buffer> {
  const stepBytes = 4096
  let text = ''
  let part = start
  let at = start.byteLength
  while (part.byteLength > 0 && at <= maxDescriptorBytes) {
    if (!isText(part)) return undefined
    text += part.toString('latin1').toLowerCase()
    if (part.byteLength < (at === start.byteLength ? sectorBytes : stepBytes)) break
    part = yield { at, length: stepBytes }
    at += part.byteLength
  }
  if (!text.includes('createtype')) return undefined
  return found(0, [problem('descriptor', 'it is a bare text descriptor')])
}

function descriptorProblem(descriptor: Buffer): SafetyProblem | undefined {
  const end = descriptor.indexOf(0)
  const used = end === -1 ? descriptor : descriptor.subarray(0, end)
  if (!isText(used) || descriptor.subarray(used.byteLength).some((byte) => byte !== 0)) {
    return problem('descriptor', 'its descriptor is not ASCII text')
  }
  const text = used.toString('latin1')
  const types = [...text.matchAll(/createtype[ \t]*=[ \t]*"?([^"\r\n]*)/gi)]
  if (types.length === 0) return problem('createType', 'its descriptor has no createType')
  for (const [, type = ''] of types) {
    if (type.length > maxTypeLength || !allowedTypes.has(type.trim().toLowerCase())) {
      return problem('createType', 'its subformat is not allowed')
    }
  }
  let extents = 0
  for (const raw of text.split(/\r\n|\n|\r/)) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#') || /^ddb/i.test(line) || /^\w+\s*=/.test(line)) continue
    if (!/^(rw|rdonly|noaccess)\b/i.test(line)) {
      return problem('descriptor', 'its descriptor has a line that is not understood')
    }
    if (line.includes('/')) return problem('extent', 'an extent names a path')
    extents += 1
  }
  return extents === 0 ? problem('extent', 'its descriptor has no extent') : undefined
}

/** With the grain directory at the end, a footer repeats the header: marker, footer, end-of-stream marker. */
function footerProblem(header: Buffer, tail: Buffer): SafetyProblem | undefined {
  if (tail.byteLength < 3 * sectorBytes) return problem('footer', 'its footer is missing')
  const marker = tail.subarray(0, sectorBytes)
  const footer = tail.subarray(sectorBytes, 2 * sectorBytes)
  const endOfStream = tail.subarray(2 * sectorBytes)
  if (marker.readBigUInt64LE(0) !== 1n || marker.readUInt32LE(8) !== 0 || marker.readUInt32LE(12) !== 3) {
    return problem('footer', 'its footer marker is invalid')
  }
  if (endOfStream.subarray(0, 16).some((byte) => byte !== 0)) {
    return problem('footer', 'its end-of-stream marker is invalid')
  }
  const sameStart = footer.subarray(0, 8).equals(header.subarray(0, 8))
  const sameDescriptor = footer.subarray(28, 44).equals(header.subarray(28, 44))
  if (!sameStart || !sameDescriptor) return problem('footer', 'its footer differs from its header')
  if (footer.readBigUInt64LE(56) === grainDirectoryAtEnd) {
    return problem('footer', 'its footer points to another footer')
  }
  return undefined
}

function isText(bytes: Buffer): boolean {
  for (const byte of bytes) {
    const printable = byte >= 0x20 && byte < 0x7f
    if (!printable && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) return false
  }
  return true
}

function problem(check: string, what: string): SafetyProblem {
  return { check, message: `The VMDK image is not allowed: ${what}.` }
}
