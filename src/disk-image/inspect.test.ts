import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { FormatInspector, type Inspection } from './inspect.ts'

const run = promisify(execFile)

/** The verdict must not depend on how the stream is cut, so every image is inspected cut in three ways. */
function inspect(bytes: Buffer): Inspection {
  const verdicts = [Number.POSITIVE_INFINITY, 65536, 37].map((chunkBytes) => {
    const inspector = new FormatInspector()
    for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
      inspector.push(bytes.subarray(at, at + chunkBytes))
    }
    return inspector.finish()
  })
  const [whole, ...cut] = verdicts
  for (const other of cut) assert.deepEqual(other, whole)
  assert.ok(whole)
  return whole
}

const checks = (inspection: Inspection) => inspection.problems.map((problem) => problem.check)

const qcow2 = (change: (header: Buffer) => void = () => {}) => {
  const header = Buffer.alloc(512)
  header.writeUInt32BE(0x514649fb, 0)
  header.writeUInt32BE(3, 4)
  header.writeBigUInt64BE(12345678n, 24)
  change(header)
  return header
}

const gpt = (entries: readonly (readonly [index: number, bytes: string])[]) => {
  const sector = Buffer.alloc(1024)
  sector.writeUInt16LE(0xaa55, 510)
  for (const [index, bytes] of entries) sector.write(bytes, 446 + 16 * index, 'hex')
  return sector
}
const protective = '00000200eeffffff01000000ffffffff'
const linux = '80202100830301400008000000f80100'

const vmdk = (descriptor: string, change: (header: Buffer) => void = () => {}) => {
  const header = Buffer.alloc(512)
  header.write('KDMV')
  header.writeUInt32LE(1, 4)
  header.writeBigUInt64LE(2048n, 12)
  header.writeBigUInt64LE(1n, 28)
  header.writeBigUInt64LE(20n, 36)
  change(header)
  const text = Buffer.alloc(20 * 512)
  text.write(descriptor)
  return Buffer.concat([header, text, Buffer.alloc(4096, 1)])
}
const descriptor = (type: string, extent = 'RW 2048 SPARSE "disk.vmdk"') =>
  `# Disk DescriptorFile\nversion=1\nCID=12345678\ncreateType="${type}"\n${extent}\nddb.adapterType = "ide"\n`

const iso = () => {
  const bytes = Buffer.alloc(40960)
  bytes.write('\x01CD001\x01', 32768)
  bytes.writeUInt32LE(20, 32768 + 80)
  bytes.writeUInt16LE(2048, 32768 + 128)
  return bytes
}

test('bytes of no known format are raw and as long as the stream', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(3), Buffer.alloc(100_000, 0x41), Buffer.from('hello')]) {
    assert.deepEqual(inspect(bytes), {
      format: 'raw',
      matches: [],
      virtualSizeBytes: bytes.byteLength,
      streamBytes: bytes.byteLength,
      problems: [],
    })
  }
})

test('qcow2 is recognised, and refused when it needs another file or is not understood', () => {
  const good = inspect(qcow2())
  assert.equal(good.format, 'qcow2')
  assert.equal(good.virtualSizeBytes, 12345678)
  assert.deepEqual(good.problems, [])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeUInt32BE(2, 4)))), [])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeBigUInt64BE(0x1bn, 72)))), [])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeBigUInt64BE(512n, 8)))), ['backing-file'])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeUInt32BE(4, 4)))), ['version'])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeBigUInt64BE(4n, 72)))), ['data-file'])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeBigUInt64BE(1n << 5n, 72)))), [
    'unknown-features',
  ])
  assert.deepEqual(checks(inspect(qcow2((header) => header.writeBigUInt64BE(1n << 63n, 72)))), [
    'unknown-features',
  ])
  assert.deepEqual(checks(inspect(qcow2().subarray(0, 80))), ['header'])
  // Version 2 has no feature bits: what stands there is something else.
  const old = qcow2((header) => {
    header.writeUInt32BE(2, 4)
    header.writeBigUInt64BE(4n, 72)
  })
  assert.deepEqual(checks(inspect(old)), [])
})

test('qed is always refused', () => {
  assert.deepEqual(checks(inspect(Buffer.from('QED\0 and more'))), ['format'])
})

test('partition tables are recognised and checked entry by entry', () => {
  const good = inspect(gpt([[0, protective]]))
  assert.equal(good.format, 'gpt')
  assert.equal(good.virtualSizeBytes, 1024)
  assert.deepEqual(good.problems, [])
  assert.deepEqual(checks(inspect(gpt([[0, linux]]))), [])
  assert.deepEqual(checks(inspect(gpt([[2, linux]]))), [])
  const refused: readonly (readonly [number, string])[][] = [
    [],
    [[0, `01${linux.slice(2)}`]],
    [[3, `7f${linux.slice(2)}`]],
    [[1, protective]],
    [
      [0, protective],
      [1, linux],
    ],
    [[0, '00000100eeffffff01000000ffffffff']],
    [[0, '00000200eeffffff02000000ffffffff']],
  ]
  for (const entries of refused) {
    assert.deepEqual(checks(inspect(gpt(entries))), ['mbr'], JSON.stringify(entries))
  }
  const fat = gpt([])
  fat[0x10] = 2
  fat[0x15] = 0xf8
  assert.equal(inspect(fat).format, 'raw')
})

test('an ISO that also boots from a disk is an ISO; other mixtures are refused', () => {
  assert.equal(inspect(iso()).format, 'iso')
  assert.equal(inspect(iso()).virtualSizeBytes, 40960)
  const hybrid = Buffer.concat([gpt([[1, protective]]).subarray(0, 512), iso().subarray(512)])
  assert.equal(inspect(hybrid).format, 'iso')
  assert.deepEqual(inspect(hybrid).problems, [])
  assert.deepEqual([...inspect(hybrid).matches].sort(), ['gpt', 'iso'])
  const mixture = Buffer.concat([qcow2(), iso().subarray(512)])
  assert.equal(inspect(mixture).format, 'ambiguous')
  assert.deepEqual(checks(inspect(mixture)), ['ambiguous'])
})

test('LUKS is as long as what follows its header, and only version 1 is accepted', () => {
  const bytes = Buffer.alloc(10 * 512)
  bytes.write('LUKS\xba\xbe', 'latin1')
  bytes.writeUInt16BE(1, 6)
  bytes.writeUInt32BE(2, 104)
  assert.equal(inspect(bytes).format, 'luks')
  assert.equal(inspect(bytes).virtualSizeBytes, 8 * 512)
  assert.deepEqual(inspect(bytes).problems, [])
  bytes.writeUInt16BE(2, 6)
  assert.deepEqual(checks(inspect(bytes)), ['version'])
})

test('VMDK is accepted in the two subformats that hold all their data themselves', () => {
  for (const type of ['monolithicSparse', 'STREAMOPTIMIZED']) {
    const inspection = inspect(vmdk(descriptor(type)))
    assert.equal(inspection.format, 'vmdk')
    assert.equal(inspection.virtualSizeBytes, 2048 * 512)
    assert.deepEqual(inspection.problems, [])
  }
})

test('VMDK that could name another file is refused', () => {
  const refused: Record<string, readonly Buffer[]> = {
    createType: [
      vmdk(descriptor('monolithicFlat')),
      vmdk(descriptor('')),
      vmdk(descriptor(`monolithicSparse${'e'.repeat(64)}`)),
      vmdk('version=1\nRW 1 SPARSE "a"\n'),
      vmdk(`${descriptor('monolithicSparse')}createType="vmfs"\n`),
      vmdk(`# createType="twoGbMaxExtentFlat"\n${descriptor('monolithicSparse')}`),
    ],
    extent: [
      vmdk(descriptor('monolithicSparse', 'RW 1 FLAT "/etc/shadow" 0')),
      vmdk(descriptor('monolithicSparse', 'rdonly 1 flat "../x" 0')),
      vmdk(descriptor('monolithicSparse', '')),
    ],
    descriptor: [
      vmdk(descriptor('monolithicSparse', 'RW 1 SPARSE "a"\nwhatever else')),
      vmdk(`${descriptor('monolithicSparse')}\u00e9`),
      vmdk(`${descriptor('monolithicSparse')}\0hidden`),
      vmdk(descriptor('monolithicSparse'), (header) => header.writeBigUInt64LE(2n, 28)),
      vmdk(descriptor('monolithicSparse'), (header) => header.writeBigUInt64LE(2048n, 36)),
      vmdk(descriptor('monolithicSparse'), (header) => header.writeBigUInt64LE(1n << 60n, 36)),
      vmdk(descriptor('monolithicSparse'), (header) => header.writeBigUInt64LE(0n, 36)),
    ],
  }
  for (const [check, images] of Object.entries(refused)) {
    for (const [index, bytes] of images.entries()) {
      assert.deepEqual(checks(inspect(bytes)), [check], `${check} ${index}`)
    }
  }
})

test('a VMDK with its grain directory at the end must have a footer that repeats its header', () => {
  const atEnd = (header: Buffer) => header.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 56)
  const start = vmdk(descriptor('streamOptimized'), atEnd)
  const footer = (change: (tail: Buffer) => void = () => {}) => {
    const tail = Buffer.alloc(1536)
    tail.writeBigUInt64LE(1n, 0)
    tail.writeUInt32LE(3, 12)
    start.copy(tail, 512, 0, 512)
    tail.writeBigUInt64LE(77n, 512 + 56)
    change(tail)
    return Buffer.concat([start, tail])
  }
  assert.deepEqual(checks(inspect(footer())), [])
  const faults: ((tail: Buffer) => void)[] = [
    (tail) => tail.writeUInt32LE(2, 12),
    (tail) => tail.writeUInt8(1, 1024),
    (tail) => tail.writeUInt32LE(2, 512 + 4),
    (tail) => tail.writeBigUInt64LE(5n, 512 + 28),
    (tail) => tail.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 512 + 56),
  ]
  for (const fault of faults) assert.deepEqual(checks(inspect(footer(fault))), ['footer'])
  assert.deepEqual(checks(inspect(start)), ['footer'])
})

test('a bare VMDK descriptor is refused, other text is raw', () => {
  assert.deepEqual(checks(inspect(Buffer.from(descriptor('monolithicFlat')))), ['descriptor'])
  const long = `${'# filling\n'.repeat(2000)}${descriptor('vmfs')}`
  assert.deepEqual(checks(inspect(Buffer.from(long))), ['descriptor'])
  assert.equal(inspect(Buffer.from('just text\n'.repeat(3000))).format, 'raw')
  assert.equal(inspect(Buffer.from(`binary \0 ${descriptor('vmfs')}`)).format, 'raw')
})

test('VDI is recognised by its signature', () => {
  const bytes = Buffer.alloc(1024)
  bytes.writeUInt32LE(0xbeda107f, 0x40)
  bytes.writeBigUInt64LE(7_340_032n, 0x170)
  assert.deepEqual([inspect(bytes).format, inspect(bytes).virtualSizeBytes], ['vdi', 7_340_032])
})

test('a VHDX with tables that lead nowhere is refused', () => {
  const bytes = Buffer.alloc(1024 * 1024)
  bytes.write('vhdxfile')
  assert.deepEqual(checks(inspect(bytes)), ['tables'])
  bytes.write('regi', 192 * 1024)
  assert.deepEqual(checks(inspect(bytes)), ['tables'])
  bytes.writeUInt32LE(0xffffffff, 192 * 1024 + 8)
  assert.deepEqual(checks(inspect(bytes)), ['tables'])
  bytes.writeUInt32LE(1, 192 * 1024 + 8)
  bytes.write('06a27c8b90479a4bb8fe575f050f886e', 192 * 1024 + 16, 'hex')
  assert.deepEqual(checks(inspect(bytes)), ['tables'])
  bytes.writeBigUInt64LE(1n << 60n, 192 * 1024 + 32)
  assert.deepEqual(checks(inspect(bytes)), ['tables'])
})

test('random headers behind every magic are inspected without a crash', () => {
  let state = 7
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 24
  }
  const magics = [
    'QFI\xfb\0\0\0\x03',
    'QED\0',
    'conectix',
    'vhdxfile',
    'KDMV\x01\0\0\0',
    'LUKS\xba\xbe\0\x01',
  ]
  for (let round = 0; round < 60; round += 1) {
    const bytes = Buffer.alloc(300 * 1024)
    for (let at = 0; at < 2048; at += 1) bytes[at] = random()
    for (let at = 192 * 1024; at < 193 * 1024; at += 1) bytes[at] = random()
    bytes.write(magics[round % magics.length] ?? '', 'latin1')
    if (round % 2 === 0) bytes.write('regi', 192 * 1024)
    const inspector = new FormatInspector()
    inspector.push(bytes)
    assert.notEqual(inspector.finish().format, 'failed')
  }
})

const hasQemu = await run('qemu-img', ['--version']).then(
  () => true,
  () => false,
)

describe('images made by qemu-img', { skip: hasQemu ? false : 'qemu-img is not installed' }, () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'inspect-'))
    await writeFile(join(directory, 'raw'), Buffer.alloc(5 * 1024 * 1024, 'disk'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  const made: readonly (readonly [name: string, format: string, ...options: string[]])[] = [
    ['qcow2', 'qcow2'],
    ['vmdk', 'vmdk'],
    ['vmdk', 'vmdk', '-o', 'subformat=streamOptimized'],
    ['vhdx', 'vhdx'],
    ['vdi', 'vdi'],
    ['vhd', 'vpc', '-o', 'force_size=on'],
  ]
  for (const [name, format, ...options] of made) {
    test(`are recognised and safe: ${[format, ...options].join(' ')}`, async () => {
      const path = join(directory, 'image')
      await run('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, join(directory, 'raw'), path])
      const inspection = inspect(await readFile(path))
      assert.equal(inspection.format, name)
      assert.deepEqual(inspection.problems, [])
      assert.equal(inspection.virtualSizeBytes, 5 * 1024 * 1024)
    })
  }

  test('are inspected without a crash and alike, however they are damaged and cut', async () => {
    let state = 11
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const verdictOf = (bytes: Buffer, chunkBytes: number) => {
      const inspector = new FormatInspector()
      for (let at = 0; at < bytes.byteLength; at += chunkBytes)
        inspector.push(bytes.subarray(at, at + chunkBytes))
      return inspector.finish()
    }
    for (const [, format, ...options] of made) {
      const path = join(directory, 'victim')
      await run('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, join(directory, 'raw'), path])
      const whole = await readFile(path)
      for (let round = 0; round < 40; round += 1) {
        const bytes = Buffer.from(whole.subarray(0, round % 4 === 0 ? random(whole.byteLength) : undefined))
        // headers lie at the beginning, behind 192 KiB (VHDX), and at the end (footers)
        const places = [0, 192 * 1024, Math.max(0, bytes.byteLength - 1024)]
        for (let flips = 1 + random(8); flips > 0; flips -= 1) {
          const at = (places[random(places.length)] ?? 0) + random(1024)
          bytes[at] = [0, 0xff, 0x7f, random(256)][random(4)] ?? 0
        }
        const verdict = verdictOf(bytes, bytes.byteLength)
        assert.notEqual(verdict.format, 'failed', `${format}, round ${round}`)
        assert.deepEqual(verdictOf(bytes, 1 + random(70_000)), verdict, `${format}, round ${round}`)
      }
    }
  })

  test('are refused when their data lies in another file', async () => {
    const path = join(directory, 'flat.vmdk')
    await run('qemu-img', ['create', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', path, '1M'])
    assert.deepEqual(checks(inspect(await readFile(path))), ['descriptor'])
    const child = join(directory, 'child.qcow2')
    await run('qemu-img', ['create', '-f', 'qcow2', '-b', join(directory, 'raw'), '-F', 'raw', child])
    assert.deepEqual(checks(inspect(await readFile(child))), ['backing-file'])
  })
})
