import type { Probe } from '../probe.ts'

/** LUKS 1: the payload begins at a number of 512-byte sectors given at byte 104; version 2 is refused. */
export function* luksProbe(): Probe {
  const header = yield { at: 0, length: 592 }
  if (header.byteLength < 108 || header.subarray(0, 6).toString('latin1') !== 'LUKS\xba\xbe') return undefined
  const version = header.readUInt16BE(6)
  const payloadOffset = header.readUInt32BE(104) * 512
  return {
    virtualSizeBytes: (streamBytes) => Math.max(0, streamBytes - payloadOffset),
    problems:
      version === 1 ? [] : [{ check: 'version', message: `The LUKS version ${version} is not supported.` }],
  }
}
