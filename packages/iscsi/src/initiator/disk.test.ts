import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { IscsiError, ScsiError } from '../errors.ts'
import { NO_TAG } from '../pdu/header.ts'
import type { ScsiCommand } from '../pdu/scsi-command.ts'
import { logicalBlockAddress, OperationCode } from '../scsi/command-block.ts'
import { discoverTargets } from './discover.ts'
import { type IscsiDisk, type IscsiDiskOptions, openIscsiDisk } from './disk.ts'
import { type Peer, type Script, ScriptedTarget } from './scripted-target.fixture.ts'

const cancel = { signal: new AbortController().signal }
const KiB = 1024
const MiB = 1024 * KiB

function open(target: ScriptedTarget, options: Partial<IscsiDiskOptions> = {}): Promise<IscsiDisk> {
  const portals = [{ host: '127.0.0.1', port: target.port }]
  const names = { targetName: 'iqn.2026-01.test:disk', initiatorName: 'iqn.2026-01.test:me' }
  return openIscsiDisk({ portals, ...names, lun: 0, timeoutMs: 5000, ...options }, cancel)
}

function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2654435761 + seed) >>> 0, at)
  return bytes
}

const isCommand = (command: ScsiCommand, code: number) => command.commandBlock[0] === code
const code = (expected: string) => (error: unknown) => error instanceof IscsiError && error.code === expected

/** Data of this length is written and read back at once, however the target wants it moved. */
async function assertMoves(script: Script, length = 3 * MiB + 512): Promise<Peer> {
  await using target = await ScriptedTarget.start(script)
  await using disk = await open(target)
  const data = pattern(length)
  await disk.write(1024, data, cancel)
  assert.ok(target.disk.subarray(1024, 1024 + length).equals(data))
  const back = Buffer.alloc(length)
  await disk.read(1024, back, cancel)
  assert.ok(back.equals(data))
  await disk.flush(cancel)
  const peer = target.peers[0]
  assert.ok(peer)
  return peer
}

test('data moves unasked for as far as the target allows, and the rest when it asks', async () => {
  const immediate = await assertMoves({})
  assert.deepEqual(immediate.dataOuts, [])

  const unsolicited = await assertMoves({ preferences: { immediateData: false } }, 256 * KiB)
  assert.deepEqual(unsolicited.dataOuts, [{ bytes: 262144, solicited: false }])

  const asked = await assertMoves({ preferences: { immediateData: false, initialR2T: true } }, 256 * KiB)
  assert.deepEqual(asked.dataOuts, [{ bytes: 262144, solicited: true }])

  const small = { maxRecvDataSegmentLength: 8192, firstBurstLength: 32768, maxBurstLength: 65536 }
  const mixed = await assertMoves({ preferences: small }, 128 * KiB)
  assert.deepEqual(
    mixed.dataOuts.map((pdu) => [pdu.bytes, pdu.solicited]),
    [...Array(3).fill([8192, false]), ...Array(12).fill([8192, true])],
  )
})

test('digests, short segments and a status of its own make no difference to the bytes', async () => {
  await assertMoves({ preferences: { headerDigest: true, dataDigest: true } })
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (!isCommand(command, OperationCode.read10)) return false
    const at = logicalBlockAddress(command.commandBlock) * 512
    const data = targetDisk.subarray(at, at + command.expectedDataTransferLength)
    peer.sendData(command, data, { segment: 1000, withStatus: false })
    return true
  }
  let targetDisk = Buffer.alloc(0)
  await using target = await ScriptedTarget.start({ onCommand })
  targetDisk = target.disk
  pattern(MiB).copy(target.disk)
  await using disk = await open(target, { headerDigest: true, dataDigest: true })
  const back = Buffer.alloc(MiB)
  await disk.read(0, back, cancel)
  assert.ok(back.equals(pattern(MiB)))
})

test('commands run side by side, never more than the window and the queue depth allow', async () => {
  for (const { window, depth } of [
    { window: 4, depth: 64 },
    { window: 128, depth: 6 },
  ]) {
    let underWay = 0
    let most = 0
    const onCommand = (command: ScsiCommand, peer: Peer) => {
      if (!isCommand(command, OperationCode.read10)) return false
      underWay += 1
      most = Math.max(most, underWay)
      setTimeout(() => {
        underWay -= 1
        peer.sendData(command, Buffer.alloc(command.expectedDataTransferLength, 7))
      }, 2)
      return true
    }
    await using target = await ScriptedTarget.start({ onCommand, window })
    await using disk = await open(target, { queueDepth: depth })
    const reads = Array.from({ length: 40 }, async (_, index) => {
      const into = Buffer.alloc(512)
      await disk.read(index * 512, into, cancel)
      return into.every((byte) => byte === 7)
    })
    assert.ok((await Promise.all(reads)).every(Boolean))
    assert.ok(most > 1 && most <= depth, `${most} commands were under way`)
    assert.equal(target.peers[0]?.overruns, 0)
  }
})

test('unit attentions and busy states are waited out', async () => {
  const answers = [
    { status: 2, sense: { key: 6, asc: 0x29, ascq: 0 } },
    { status: 8 },
    { status: 2, sense: { key: 2, asc: 4, ascq: 1 } },
    { status: 0x28 },
  ]
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    const next = isCommand(command, OperationCode.testUnitReady) ? answers.shift() : undefined
    if (next === undefined) return false
    peer.respond(command, next.status, next.sense)
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  assert.equal(target.count(OperationCode.testUnitReady), 5)
  assert.equal(disk.sizeBytes, 8 * MiB)
})

test('an endless unit attention becomes an error', async () => {
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (!isCommand(command, OperationCode.testUnitReady)) return false
    peer.respond(command, 2, { key: 6, asc: 0x29, ascq: 0 })
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await assert.rejects(open(target), (error: unknown) => error instanceof ScsiError && error.senseKey === 6)
})

test('a refused command throws its sense data, and the others go on', async () => {
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    const write = isCommand(command, OperationCode.write10)
    if (!write || logicalBlockAddress(command.commandBlock) !== 512) return false
    peer.respond(command, 2, { key: 7, asc: 0x27, ascq: 7 })
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  const writing = disk.write(0, pattern(MiB), cancel)
  await assert.rejects(writing, (error: unknown) => error instanceof ScsiError && error.asc === 0x27)
  assert.ok(target.disk.subarray(512 * KiB, MiB).equals(pattern(MiB).subarray(512 * KiB)))
})

test('a new capacity is seen after the unit attention, and when asked for', async () => {
  let grown = false
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (grown || !isCommand(command, OperationCode.read10)) return false
    grown = true
    peer.respond(command, 2, { key: 6, asc: 0x2a, ascq: 9 })
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  const asked = target.count(OperationCode.serviceActionIn16)
  await disk.read(0, Buffer.alloc(512), cancel)
  await disk.rescan(cancel)
  assert.equal(target.count(OperationCode.serviceActionIn16), asked + 2)
})

test('a lost connection is had back, and what was not answered is repeated', async () => {
  let losses = 0
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    const moves = isCommand(command, OperationCode.read10) || isCommand(command, OperationCode.write10)
    if (!moves || losses >= 3 || logicalBlockAddress(command.commandBlock) % 1024 !== 512) return false
    losses += 1
    peer.hangUp()
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  const data = pattern(4 * MiB)
  await disk.write(0, data, cancel)
  const back = Buffer.alloc(4 * MiB)
  await disk.read(0, back, cancel)
  assert.ok(back.equals(data))
  assert.ok(disk.reconnects > 0 && disk.reconnects <= losses)
})

test('when a portal fails the next one is used, and at first the one that answers', async () => {
  await using first = await ScriptedTarget.start({
    onCommand: (command, peer) => {
      if (!isCommand(command, OperationCode.write10)) return false
      peer.hangUp()
      return true
    },
  })
  await using second = await ScriptedTarget.start()
  const portals = [1, first.port, second.port].map((port) => ({ host: '127.0.0.1', port }))
  await using disk = await open(first, { portals })
  assert.equal(disk.portal?.port, first.port)
  await disk.write(0, pattern(MiB), cancel)
  assert.equal(disk.portal?.port, second.port)
  assert.ok(second.disk.subarray(0, MiB).equals(pattern(MiB)))
})

test('when no portal comes back in time, reads and writes fail with the reason', async () => {
  const target = await ScriptedTarget.start()
  await using disk = await open(target, { recoveryTimeoutMs: 300 })
  await target[Symbol.asyncDispose]()
  await assert.rejects(disk.read(0, Buffer.alloc(512), cancel), code('closed'))
  await assert.rejects(disk.write(0, Buffer.alloc(512), cancel), code('closed'))
})

test('when another disk answers after a reconnection nothing is repeated there', async () => {
  let other = false
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (isCommand(command, OperationCode.write10)) {
      other = true
      peer.hangUp()
      return true
    }
    if (!other || !isCommand(command, OperationCode.inquiry) || (command.commandBlock.readUInt8(1) & 1) !== 0)
      return false
    peer.sendData(command, Buffer.concat([Buffer.alloc(8), Buffer.from('OTHER   DISK'), Buffer.alloc(76)]))
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  await assert.rejects(disk.write(0, pattern(512), cancel), /another disk answers/)
  assert.equal(target.count(OperationCode.write10), 1)
  assert.ok(target.disk.subarray(0, 512).every((byte) => byte === 0))
})

test('a disk is closed at once also while the target does not answer after a reconnection', async () => {
  let lost = false
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (lost) return true
    if (!isCommand(command, OperationCode.write10)) return false
    lost = true
    peer.hangUp()
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand, onTaskManagement: () => true })
  const disk = await open(target)
  const writing = assert.rejects(disk.write(0, pattern(512), cancel), code('closed'))
  while (target.peers.length < 2 || target.count(OperationCode.inquiry) < 3) await sleep(2)
  await disk[Symbol.asyncDispose]()
  await writing
})

test('a target that restarts and does not know its disk yet is waited for', async () => {
  const statuses = [0, 0x0203, 0x0301, 0]
  let lost = false
  const script: Script = {
    loginStatus: () => statuses.shift() ?? 0,
    onCommand(command, peer) {
      if (lost || !isCommand(command, OperationCode.write10)) return false
      lost = true
      peer.hangUp()
      return true
    },
  }
  await using target = await ScriptedTarget.start(script)
  await using disk = await open(target)
  await disk.write(0, pattern(512), cancel)
  assert.ok(target.disk.subarray(0, 512).equals(pattern(512)))
  assert.equal(target.peers.length, 4)
})

test('a refused login is not tried again, an unavailable target is', async () => {
  await using target = await ScriptedTarget.start({ loginStatus: () => 0x0201 })
  const twice = [target.port, target.port].map((port) => ({ host: '127.0.0.1', port }))
  await assert.rejects(open(target, { portals: twice }), code('authentication'))
  assert.equal(target.peers.length, 1)

  const statuses = [0x0301, 0]
  await using busy = await ScriptedTarget.start({ loginStatus: () => statuses.shift() ?? 0 })
  const portals = [busy.port, busy.port].map((port) => ({ host: '127.0.0.1', port }))
  await using disk = await open(busy, { portals })
  assert.equal(disk.sizeBytes, 8 * MiB)
})

test('a redirected login is followed, in circles only a few times', async () => {
  await using real = await ScriptedTarget.start()
  await using moved = await ScriptedTarget.start({
    loginStatus: () => 0x0101,
    loginKeys: [['TargetAddress', `127.0.0.1:${real.port},1`]],
  })
  await using disk = await open(moved)
  assert.equal(disk.portal?.port, real.port)

  const keys: [string, string][] = []
  await using circle = await ScriptedTarget.start({ loginStatus: () => 0x0101, loginKeys: keys })
  keys.push(['TargetAddress', `127.0.0.1:${circle.port}`])
  await assert.rejects(open(circle), code('login'))
  assert.equal(circle.peers.length, 5)
})

test('a command without an answer is aborted at the target, and its error says what was waited for', async () => {
  const aborted: number[] = []
  let lost: ScsiCommand | undefined
  const script: Script = {
    onCommand(command) {
      if (lost !== undefined || !isCommand(command, OperationCode.read10)) return false
      lost = command
      return true
    },
    onTaskManagement(_tag, referenced) {
      aborted.push(referenced)
      return false
    },
  }
  await using target = await ScriptedTarget.start(script)
  await using disk = await open(target, { timeoutMs: 200 })
  await assert.rejects(disk.read(512, Buffer.alloc(512), cancel), (error: unknown) => {
    assert.ok(error instanceof IscsiError && error.code === 'timeout')
    assert.match(error.message, /waiting for READ of 1 blocks at 1/)
    return true
  })
  assert.deepEqual(aborted, [lost?.initiatorTaskTag])
  await disk.read(0, Buffer.alloc(512), cancel)
  assert.equal(disk.reconnects, 0)
})

test('when the target does not abort a command its unit is reset, and the others are repeated', async () => {
  const functions: string[] = []
  const into = Buffer.alloc(512)
  let other: Promise<void> | undefined
  await using target = await ScriptedTarget.start({
    // Reads have no answer until the reset.
    onCommand: (command) => isCommand(command, OperationCode.read10) && !functions.includes('reset'),
    onTaskManagement: (tag, referenced, peer) => {
      const isReset = referenced === NO_TAG
      functions.push(isReset ? 'reset' : 'abort')
      other ??= disk.read(512, into, cancel)
      peer.answerTaskManagement(tag, isReset ? 0 : 5)
      return true
    },
  })
  target.disk.fill('what is read ')
  await using disk = await open(target, { timeoutMs: 500 })
  await assert.rejects(disk.read(0, Buffer.alloc(512), cancel), code('timeout'))
  await other
  assert.deepEqual(functions, ['abort', 'reset'])
  assert.ok(into.equals(target.disk.subarray(512, 1024)))
  assert.equal(target.count(OperationCode.read10), 3)
  assert.equal(disk.reconnects, 0)
})

test('when the target answers neither abort nor reset the connection is given up', async () => {
  let hangs = true
  await using target = await ScriptedTarget.start({
    onCommand: (command) => hangs && isCommand(command, OperationCode.read10),
    onTaskManagement: () => true,
  })
  await using disk = await open(target, { timeoutMs: 200 })
  await assert.rejects(disk.read(0, Buffer.alloc(512), cancel), code('timeout'))
  hangs = false
  await disk.read(0, Buffer.alloc(512), cancel)
  assert.equal(disk.reconnects, 1)
})

test('a cancelled call rejects with its reason when the target moves no more of its data', async () => {
  let sendLate = () => {}
  const script: Script = {
    onCommand(command, peer) {
      if (!isCommand(command, OperationCode.read10)) return false
      sendLate = () => peer.sendData(command, Buffer.alloc(512, 0xff))
      return true
    },
    onTaskManagement(tag, _referenced, peer) {
      setTimeout(() => {
        peer.answerTaskManagement(tag, 0)
        sendLate()
      }, 20)
      return true
    },
  }
  await using target = await ScriptedTarget.start(script)
  await using disk = await open(target)
  const stop = new AbortController()
  const into = Buffer.alloc(512)
  const reading = disk.read(0, into, stop)
  setTimeout(() => stop.abort(new Error('no longer wanted')), 10)
  await assert.rejects(reading, /no longer wanted/)
  await sleep(20)
  assert.ok(
    into.every((byte) => byte === 0),
    'data came into the buffer afterwards',
  )
  await assert.rejects(disk.read(0, into, { signal: AbortSignal.abort(new Error('never')) }), /never/)
  assert.equal(disk.reconnects, 0)
})

test('a target that answers none of its pings, or not the login, is given up in time', async () => {
  await using silent = await ScriptedTarget.start()
  const portal = { host: '127.0.0.1', port: silent.port }
  await using mute = await ScriptedTarget.start({
    onCommand: () => true,
    onTaskManagement: () => true,
  })
  await assert.rejects(open(mute, { timeoutMs: 100, recoveryTimeoutMs: 50 }), code('timeout'))
  const stop = new AbortController()
  stop.abort(new Error('stopped before it began'))
  await assert.rejects(
    openIscsiDisk({ portals: [portal], targetName: 'iqn.a', initiatorName: 'iqn.b', lun: 0 }, stop),
    /stopped before/,
  )
})

test("the target's pings are answered with its own tag", async () => {
  const answers: [number, number][] = []
  await using target = await ScriptedTarget.start({
    onNop: (nop) => answers.push([nop.initiatorTaskTag, nop.targetTransferTag]),
  })
  await using disk = await open(target)
  target.peers[0]?.ping(77)
  target.peers[0]?.ping(NO_TAG)
  await disk.read(0, Buffer.alloc(512), cancel)
  await disk.read(0, Buffer.alloc(512), cancel)
  assert.deepEqual(answers, [[NO_TAG, 77]])
})

test('a target that asks for a logout is left when its commands are answered, and logged in to again', async () => {
  await using target = await ScriptedTarget.start()
  await using disk = await open(target)
  const data = pattern(2 * MiB)
  const writing = disk.write(0, data, cancel)
  target.peers[0]?.asyncMessage(1)
  await writing
  await disk.read(0, Buffer.alloc(512), cancel)
  target.peers.at(-1)?.asyncMessage(2)
  await disk.read(0, Buffer.alloc(512), cancel)
  await sleep(5)
  await disk.read(0, Buffer.alloc(512), cancel)
  assert.ok(target.disk.subarray(0, 2 * MiB).equals(data))
  assert.equal(disk.reconnects, 2)
})

test('a command that the target rejects fails, the session goes on', async () => {
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (!isCommand(command, OperationCode.read10)) return false
    const header = Buffer.alloc(48)
    header.writeUInt8(1, 0)
    header.writeUInt32BE(command.initiatorTaskTag, 16)
    peer.reject(header, 9)
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  await assert.rejects(disk.read(0, Buffer.alloc(512), cancel), code('rejected'))
  await disk.write(0, Buffer.alloc(512), cancel)
  assert.equal(disk.reconnects, 0)
})

const lies: Record<string, (command: ScsiCommand, peer: Peer) => void> = {
  'sends data past the end of a read': (command, peer) => peer.sendData(command, Buffer.alloc(4096)),
  'asks for data past the end': (command, peer) => peer.askFor(command, 0, 4096),
  'sends a PDU that no target sends': (_command, peer) =>
    peer.send(Buffer.concat([Buffer.from([0x3e, 0x80]), Buffer.alloc(46)])),
  'sends a segment that is too long': (_command, peer) =>
    peer.sendRaw(Buffer.from('25ff000000ffffff', 'hex')),
  'sends noise': (_command, peer) => peer.sendRaw(pattern(5000)),
}
for (const [name, lie] of Object.entries(lies)) {
  test(`a target that ${name} loses the connection, and nothing else happens`, async () => {
    let lied = false
    const onCommand = (command: ScsiCommand, peer: Peer) => {
      if (lied || !isCommand(command, OperationCode.read10)) return false
      lied = true
      lie(command, peer)
      if (name.includes('too long')) peer.sendRaw(Buffer.alloc(40))
      return true
    }
    await using target = await ScriptedTarget.start({ onCommand })
    pattern(512).copy(target.disk)
    await using disk = await open(target)
    const into = Buffer.alloc(512)
    await disk.read(0, into, cancel)
    assert.ok(into.equals(pattern(512)))
    assert.equal(disk.reconnects, 1)
  })
}

test('a read that comes short is an error, not silence', async () => {
  const onCommand = (command: ScsiCommand, peer: Peer) => {
    if (!isCommand(command, OperationCode.read10)) return false
    peer.sendData(command, Buffer.alloc(512))
    return true
  }
  await using target = await ScriptedTarget.start({ onCommand })
  await using disk = await open(target)
  await assert.rejects(disk.read(0, Buffer.alloc(4096), cancel), code('protocol'))
})

test('zeroes are written where the target knows no WRITE SAME', async () => {
  await using target = await ScriptedTarget.start()
  target.disk.fill(0xff)
  await using disk = await open(target)
  await disk.writeZeroes(512, 3 * MiB, cancel)
  assert.ok(target.disk.subarray(512, 512 + 3 * MiB).every((byte) => byte === 0))
  assert.equal(target.disk[511], 0xff)
  assert.equal(target.disk[512 + 3 * MiB], 0xff)
})

test('ranges outside the disk, writing to a read-only one and using a closed one are refused', async () => {
  await using target = await ScriptedTarget.start()
  const disk = await open(target, { readOnly: true })
  await assert.rejects(disk.read(8 * MiB, Buffer.alloc(512), cancel), RangeError)
  await assert.rejects(disk.read(1, Buffer.alloc(512), cancel), RangeError)
  await assert.rejects(disk.write(0, Buffer.alloc(512), cancel), code('invalid'))
  const reading = disk.read(0, Buffer.alloc(512), cancel)
  reading.catch(() => {})
  await disk[Symbol.asyncDispose]()
  await disk[Symbol.asyncDispose]()
  await assert.rejects(disk.read(0, Buffer.alloc(512), cancel), code('closed'))
  await assert.rejects(open(target, { chap: { username: 'u', password: 'short' } }), code('invalid'))
})

test('discovery puts together an answer that comes in parts', async () => {
  await using target = await ScriptedTarget.start({
    targets: [
      'TargetName=iqn.2026-01.test:a\0TargetAddress=192.0.2.1:3260,1\0TargetAddr',
      'ess=[2001:db8::1]:3261,2\0TargetName=iqn.2026-',
      '01.test:b\0',
    ],
  })
  const portal = { host: '127.0.0.1', port: target.port }
  assert.deepEqual(await discoverTargets(portal, { initiatorName: 'iqn.2026-01.test:me' }, cancel), [
    {
      name: 'iqn.2026-01.test:a',
      portals: [
        { host: '192.0.2.1', port: 3260, groupTag: 1 },
        { host: '2001:db8::1', port: 3261, groupTag: 2 },
      ],
    },
    { name: 'iqn.2026-01.test:b', portals: [portal] },
  ])
})
