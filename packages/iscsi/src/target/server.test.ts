import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { type BlockDevice, type Done, MemoryDevice } from '../block-device.ts'
import { discoverTargets } from '../initiator/discover.ts'
import { openIscsiDisk } from '../initiator/disk.ts'
import { HEADER_BYTES, NO_TAG, Opcode } from '../pdu/header.ts'
import { LoginStatus } from '../pdu/login-response.ts'
import { encodeNopOut } from '../pdu/nop-out.ts'
import { encodeTaskManagementRequest, TaskFunction } from '../pdu/task-management-request.ts'
import { readCommand, testUnitReadyCommand, writeCommand } from '../scsi/command-block.ts'
import { Conditions } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { IscsiServer, type IscsiServerOptions } from './server.ts'
import type { IscsiTarget, TargetAccess } from './target.ts'

const NAME = 'iqn.2026-01.test:disk'
const ME = 'iqn.2026-01.test:me'
const cancel = { signal: new AbortController().signal }

interface Setup extends AsyncDisposable {
  readonly server: IscsiServer
  readonly target: IscsiTarget
  readonly port: number
  login(keys?: Parameters<RawInitiator['login']>[0], isid?: string): Promise<RawInitiator>
}

async function setup(
  options: { access?: TargetAccess; device?: BlockDevice; server?: IscsiServerOptions } = {},
): Promise<Setup> {
  const server = new IscsiServer(options.server)
  const target = server.addTarget({ name: NAME, access: options.access ?? { initiators: [ME] } })
  target.addLun(0, { device: options.device ?? new MemoryDevice(1048576), serial: 'test-1' })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    server,
    target,
    port,
    async login(keys = [], isid = '800000000001') {
      const raw = await RawInitiator.open(port)
      const { status } = await raw.login(loginKeys(ME, NAME, [['InitialR2T', 'No'], ...keys]), { isid })
      assert.equal(status, LoginStatus.success)
      assert.equal((await raw.command(testUnitReadyCommand())).sense?.asc, Conditions.powerOn.asc)
      return raw
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

async function refusal(port: number, ...args: Parameters<RawInitiator['login']>): Promise<number> {
  await using raw = await RawInitiator.open(port)
  const { status } = await raw.login(...args)
  await raw.whenClosed()
  return status
}

/** A device whose operations wait until they are let go, and then may fail. */
class HeldDevice implements BlockDevice {
  readonly sizeBytes = 1048576
  readonly blockSize = 512
  readonly waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  writes = 0

  read(): Done {
    return this.#hold()
  }

  async write(): Promise<void> {
    await this.#hold()
    this.writes += 1
  }

  async flush(): Promise<void> {}

  #hold(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.waiting.push({ resolve, reject })
    return promise
  }

  async until(count: number): Promise<void> {
    for (let turn = 0; this.waiting.length < count; turn++) {
      assert.ok(turn < 500, 'the device was not asked')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

test('a login is refused with the status that says why', async () => {
  await using it = await setup()
  const { port } = it
  assert.equal(
    await refusal(port, loginKeys('iqn.2026-01.test:stranger', NAME)),
    LoginStatus.authorizationFailed,
  )
  assert.equal(await refusal(port, loginKeys(ME, 'iqn.2026-01.test:none')), LoginStatus.notFound)
  assert.equal(await refusal(port, [['InitiatorName', ME]]), LoginStatus.missingParameter)
  assert.equal(await refusal(port, [['TargetName', NAME]]), LoginStatus.missingParameter)
  assert.equal(await refusal(port, loginKeys(ME, NAME), { versionMin: 1 }), LoginStatus.unsupportedVersion)
  assert.equal(await refusal(port, loginKeys(ME, NAME), { tsih: 7 }), LoginStatus.sessionDoesNotExist)
  assert.equal(
    await refusal(port, [...loginKeys(ME, NAME), ['InitiatorName', ME]]),
    LoginStatus.initiatorError,
  )
})

test('a target that wants CHAP cannot be entered without it', async () => {
  const chap = { username: 'me', password: 'a secret of 16 b' }
  await using it = await setup({ access: { initiators: [ME], chap } })
  assert.equal(await refusal(it.port, loginKeys(ME, NAME)), LoginStatus.authorizationFailed)
  const none = loginKeys(ME, NAME, [['AuthMethod', 'None']])
  assert.equal(await refusal(it.port, none, { currentStage: 0 }), LoginStatus.authenticationFailed)
  assert.equal(
    await refusal(it.port, loginKeys(ME, NAME), { currentStage: 0 }),
    LoginStatus.authenticationFailed,
  )
  const open = (password: string) =>
    openIscsiDisk(
      {
        portals: [{ host: '127.0.0.1', port: it.port }],
        targetName: NAME,
        lun: 0,
        initiatorName: ME,
        chap: { ...chap, password },
        recoveryTimeoutMs: 500,
      },
      cancel,
    )
  await assert.rejects(open('another secret of'), { code: 'authentication' })
  await using disk = await open(chap.password)
  assert.equal(disk.sizeBytes, 1048576)
})

test('discovery shows only what the initiator may log in to, at every portal', async () => {
  await using it = await setup()
  it.server.addTarget({ name: 'iqn.2026-01.test:hidden', access: { initiators: [] } })
  it.server.addTarget({
    name: 'iqn.2026-01.test:open',
    access: { initiators: 'any' },
    portals: [{ host: '::1', port: 3260 }],
  })
  const second = await it.server.listen({ host: '127.0.0.1', port: 0 })
  const found = await discoverTargets(second, { initiatorName: ME }, cancel)
  assert.deepEqual(
    found.map(({ name, portals }) => [name, portals.map(({ host, port }) => `${host} ${port}`)]),
    [
      [NAME, [`127.0.0.1 ${it.port}`, `127.0.0.1 ${second.port}`]],
      ['iqn.2026-01.test:open', ['::1 3260']],
    ],
  )
})

test('a taken port, a taken name and a bad configuration are errors at once', async () => {
  await using it = await setup()
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const address = other.address()
  assert.ok(typeof address === 'object' && address !== null)
  await assert.rejects(it.server.listen({ host: '127.0.0.1', port: address.port }), { code: 'EADDRINUSE' })
  other.close()
  const access = { initiators: [] }
  assert.throws(() => it.server.addTarget({ name: NAME.toUpperCase(), access }), { code: 'invalid' })
  assert.throws(() => it.server.addTarget({ name: 'disk', access }), { code: 'invalid' })
  const device = new MemoryDevice(512)
  assert.throws(() => it.target.addLun(0, { device, serial: 's' }), { code: 'invalid' })
  assert.throws(() => it.target.addLun(16384, { device, serial: 's' }), { code: 'invalid' })
  assert.throws(() => it.target.addLun(1, { device, serial: 's', naa: '123' }), { code: 'invalid' })
  const chap = { username: 'u', password: 'short' }
  await assert.rejects(it.target.setAccess({ initiators: [], chap }), { code: 'invalid' })
})

test('a second login of the same initiator port takes the place of the first', async () => {
  await using it = await setup()
  await using first = await it.login()
  await using second = await it.login()
  await first.whenClosed()
  assert.equal(it.target.sessions().length, 1)
  await using other = await it.login([], '800000000002')
  assert.equal(it.target.sessions().length, 2)
  assert.equal((await second.command(testUnitReadyCommand())).status, ScsiStatus.good)
  assert.equal((await other.command(testUnitReadyCommand())).status, ScsiStatus.good)
})

test('an initiator that is no longer admitted loses its session', async () => {
  await using it = await setup()
  await using raw = await it.login()
  await it.target.setAccess({ initiators: ['iqn.2026-01.test:other'] })
  assert.deepEqual(it.target.sessions(), [])
  await raw.whenClosed()
  assert.equal(await refusal(it.port, loginKeys(ME, NAME)), LoginStatus.authorizationFailed)
})

test('removing a target waits for the write at its device, which nobody is told about any more', async () => {
  const device = new HeldDevice()
  await using it = await setup({ device })
  await using raw = await it.login()
  const answered = raw.command(writeCommand(0, 1), { write: Buffer.alloc(512) })
  answered.catch(() => {})
  await device.until(1)
  let removed = false
  const removing = it.server.removeTarget(NAME).then(() => {
    removed = true
  })
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(removed, false)
  device.waiting[0]?.resolve()
  await removing
  assert.equal(device.writes, 1)
  await assert.rejects(answered, /closed in the middle/)
  assert.equal(await refusal(it.port, loginKeys(ME, NAME)), LoginStatus.notFound)
})

test('an initiator that is asked to log out ends what it has under way first', async () => {
  const device = new HeldDevice()
  await using it = await setup({ device, server: { timeouts: { logoutMs: 60_000 } } })
  const portals = [{ host: '127.0.0.1', port: it.port }]
  const disk = await openIscsiDisk({ portals, targetName: NAME, lun: 0, initiatorName: ME }, cancel)
  const writing = disk.write(0, Buffer.alloc(512), cancel)
  await device.until(1)
  let removed = false
  const removing = it.server.removeTarget(NAME).then(() => {
    removed = true
  })
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(removed, false)
  device.waiting[0]?.resolve()
  await writing
  await removing
  assert.deepEqual(it.target.sessions(), [])
  await disk[Symbol.asyncDispose]()
})

test('an aborted task is answered after its write has left the device, and only by the abort', async () => {
  const device = new HeldDevice()
  await using it = await setup({ device })
  await using raw = await it.login()
  const before = raw.cmdSn
  const tag = raw.sendCommand(writeCommand(0, 1), { write: Buffer.alloc(512) })
  await device.until(1)
  const header = Buffer.alloc(HEADER_BYTES)
  encodeTaskManagementRequest(
    {
      immediate: true,
      function: TaskFunction.abortTask,
      lun: 0,
      initiatorTaskTag: 900,
      referencedTaskTag: tag,
      cmdSn: raw.cmdSn,
      expStatSn: 0,
      refCmdSn: before,
    },
    header,
  )
  raw.send(header)
  const answer = raw.next()
  const early = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 50, 'none yet'))])
  assert.equal(early, 'none yet')
  device.waiting[0]?.resolve()
  assert.equal((await answer)?.opcode, Opcode.taskManagementResponse)
  assert.equal(device.writes, 1)
  const ping = Buffer.alloc(HEADER_BYTES)
  const nop = { immediate: true, lunField: Buffer.alloc(8), initiatorTaskTag: 901, targetTransferTag: NO_TAG }
  encodeNopOut({ ...nop, cmdSn: raw.cmdSn, expStatSn: 0, dataLength: 4 }, ping)
  raw.send(ping, Buffer.from('ping'))
  const pong = await raw.next()
  assert.equal(pong?.opcode, Opcode.nopIn)
  assert.equal(pong.data.toString(), 'ping')
})

test('what fails at the device is a sense code, and other commands go on', async () => {
  const device = new HeldDevice()
  await using it = await setup({ device })
  await using raw = await it.login()
  const outcomes: [Error, Buffer, typeof Conditions.writeError | object][] = [
    [new Error('EIO'), readCommand(0, 1), Conditions.unrecoveredReadError],
    [new Error('EIO'), writeCommand(0, 1), Conditions.writeError],
    [
      Object.assign(new Error('full'), { code: 'ENOSPC' }),
      writeCommand(0, 1),
      Conditions.spaceAllocationFailed,
    ],
  ]
  for (const [index, [error, cdb, condition]] of outcomes.entries()) {
    const answered = raw.command(
      cdb,
      cdb.readUInt8(0) === 0x28 ? { read: 512 } : { write: Buffer.alloc(512) },
    )
    await device.until(index + 1)
    device.waiting[index]?.reject(error)
    const { status, sense } = await answered
    assert.equal(status, ScsiStatus.checkCondition)
    assert.deepEqual(sense, condition)
  }
  assert.equal((await raw.command(testUnitReadyCommand())).status, ScsiStatus.good)
})

test('a unit that grew, and a LUN that came, are told of with the next command', async () => {
  const device = new MemoryDevice(1048576)
  await using it = await setup({ device })
  await using raw = await it.login()
  device.resize(2097152)
  it.target.capacityChanged(0)
  assert.deepEqual((await raw.command(testUnitReadyCommand())).sense, Conditions.capacityChanged)
  const last = await raw.command(readCommand(4095, 1), { read: 512 })
  assert.equal(last.status, ScsiStatus.good)
  it.target.addLun(5, { device: new MemoryDevice(512), serial: 'test-5' })
  assert.deepEqual((await raw.command(testUnitReadyCommand())).sense, Conditions.reportedLunsChanged)
  await it.target.removeLun(5)
  const gone = await raw.command(testUnitReadyCommand(), { lun: 5 })
  assert.deepEqual(gone.sense, Conditions.logicalUnitNotSupported)
})

test('a read of a write in pieces gives the same bytes, whatever the segment length', async () => {
  const bytes = Buffer.from(Array.from({ length: 65536 }, (_, index) => (index * 31) & 0xff))
  for (const segment of ['512', '1000', '8192', '262144']) {
    await using it = await setup()
    await using raw = await it.login([['MaxRecvDataSegmentLength', segment]])
    assert.equal((await raw.command(writeCommand(3, 128), { write: bytes })).status, ScsiStatus.good)
    const { data, status } = await raw.command(readCommand(3, 128), { read: 65536 })
    assert.equal(status, ScsiStatus.good)
    assert.ok(data.equals(bytes), segment)
  }
})

test('a command outside the window is ignored, and the session goes on', async () => {
  await using it = await setup()
  await using raw = await it.login()
  const due = raw.cmdSn
  for (const cmdSn of [due - 1, due + 1000]) {
    const ping = Buffer.alloc(HEADER_BYTES)
    const nop = {
      immediate: false,
      lunField: Buffer.alloc(8),
      initiatorTaskTag: 5,
      targetTransferTag: NO_TAG,
    }
    encodeNopOut({ ...nop, cmdSn, expStatSn: 0, dataLength: 0 }, ping)
    raw.send(ping)
  }
  assert.equal((await raw.command(testUnitReadyCommand())).status, ScsiStatus.good)
})

test('a data segment longer than was declared ends the connection before it is taken', async () => {
  await using it = await setup()
  await using raw = await it.login()
  const header = Buffer.alloc(HEADER_BYTES)
  const nop = { immediate: true, lunField: Buffer.alloc(8), initiatorTaskTag: 5, targetTransferTag: NO_TAG }
  encodeNopOut({ ...nop, cmdSn: raw.cmdSn, expStatSn: 0, dataLength: 262145 }, header)
  raw.socket.write(header)
  await raw.whenClosed()
})

test('an opcode that nobody knows is rejected with its header', async () => {
  await using it = await setup()
  await using raw = await it.login()
  const header = Buffer.alloc(HEADER_BYTES, 7)
  header.writeUInt8(0x40 | 0x1c, 0)
  header.writeUInt32BE(0, 4)
  raw.send(header)
  const pdu = await raw.next()
  assert.equal(pdu?.opcode, Opcode.reject)
  assert.ok(pdu.data.equals(header))
})

test('a connection that does not log in, and one that stops talking, are dropped', async () => {
  const server = { timeouts: { loginMs: 100, idleMs: 100, answerMs: 300 } }
  await using it = await setup({ server })
  await using silent = await RawInitiator.open(it.port)
  await using raw = await it.login()
  await silent.whenClosed()
  // It is asked for a sign of life first.
  assert.equal((await raw.next())?.opcode, Opcode.nopIn)
  await raw.whenClosed()
  for (let turn = 0; it.target.sessions().length > 0; turn++) {
    assert.ok(turn < 100, 'the session stayed')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
})

test('connections over the limit are closed, the others stay', async () => {
  await using it = await setup({ server: { maxConnectionsPerAddress: 1 } })
  await using raw = await it.login()
  await using second = await RawInitiator.open(it.port)
  await second.whenClosed()
  assert.equal((await raw.command(testUnitReadyCommand())).status, ScsiStatus.good)
})
