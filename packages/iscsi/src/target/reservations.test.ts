import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { testUnitReadyCommand, writeCommand } from '../scsi/command-block.ts'
import type { ReservationStore } from '../scsi/persistent-reservations.ts'
import { Conditions } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { ReservationFile } from './reservation-file.ts'
import { aptpl, reserveIn, reserveOut } from './reservations.fixture.ts'
import { IscsiServer } from './server.ts'

const NAME = 'iqn.2026-01.test:reserved'

/** A server with one LUN, for as long as `work` runs. */
async function withServer(
  reservations: ReservationStore | undefined,
  work: (login: (isid: string) => Promise<RawInitiator>) => Promise<void>,
): Promise<void> {
  await using server = new IscsiServer()
  const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
  target.addLun(0, {
    device: new MemoryDevice(1048576),
    serial: 'reserved',
    ...(reservations === undefined ? {} : { reservations }),
  })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await work(async (isid) => {
    const raw = await RawInitiator.open(port)
    assert.equal((await raw.login(loginKeys('iqn.2026-01.test:me', NAME), { isid })).status, 0)
    while ((await raw.command(testUnitReadyCommand())).status !== ScsiStatus.good);
    return raw
  })
}

async function pathIn(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'iscsi-reservations-'))
  t.after(() => rm(directory, { recursive: true }))
  return join(directory, 'reservations.json')
}

const write = [writeCommand(0, 1), { write: Buffer.alloc(512) }] as const

test('a reservation that is to be kept holds after a restart, for the one who made it', async (t) => {
  const path = await pathIn(t)
  await withServer(await ReservationFile.open(path), async (login) => {
    await using alice = await login('800000000001')
    assert.equal((await alice.command(...reserveOut(0, 0, 0, 7, aptpl))).status, ScsiStatus.good)
    assert.equal((await alice.command(...reserveOut(1, 1, 7, 0))).status, ScsiStatus.good)
  })
  await withServer(await ReservationFile.open(path), async (login) => {
    await using alice = await login('800000000001')
    await using bob = await login('800000000002')
    assert.equal((await bob.command(...write)).status, ScsiStatus.reservationConflict)
    assert.equal((await alice.command(...write)).status, ScsiStatus.good)
    const capabilities = await bob.command(reserveIn(2), { read: 1024 })
    assert.equal(capabilities.data.readUInt8(2) & 1, 1, 'it can be kept')
    assert.equal(capabilities.data.readUInt8(3) & 1, 1, 'it is kept')
    // The last REGISTER says whether to keep: this one does not.
    assert.equal((await alice.command(...reserveOut(0, 0, 7, 8))).status, ScsiStatus.good)
  })
  await withServer(await ReservationFile.open(path), async (login) => {
    await using bob = await login('800000000002')
    assert.equal((await bob.command(...write)).status, ScsiStatus.good)
    assert.equal((await bob.command(reserveIn(0), { read: 1024 })).data.readUInt32BE(4), 0, 'no keys')
  })
})

test('without a store nothing is offered, and asking for it is refused', async () => {
  await withServer(undefined, async (login) => {
    await using alice = await login('800000000001')
    assert.equal((await alice.command(reserveIn(2), { read: 1024 })).data.readUInt8(2) & 1, 0)
    const refused = await alice.command(...reserveOut(0, 0, 0, 7, aptpl))
    assert.equal(refused.sense?.asc, Conditions.invalidFieldInParameterList.asc)
  })
})

test('a registration that could not be stored is none', async () => {
  const full: ReservationStore = {
    saved: undefined,
    save: () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
  }
  await withServer(full, async (login) => {
    await using alice = await login('800000000001')
    const failed = await alice.command(...reserveOut(0, 0, 0, 7, aptpl))
    assert.equal(failed.status, ScsiStatus.checkCondition)
    assert.equal((await alice.command(reserveIn(0), { read: 1024 })).data.readUInt32BE(4), 0, 'no keys')
  })
})

test('a file of reservations that is damaged stops the LUN from being added', async (t) => {
  const path = await pathIn(t)
  await writeFile(path, '{"registrations": [')
  const reservations = await ReservationFile.open(path)
  await using server = new IscsiServer()
  const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
  assert.throws(
    () => target.addLun(0, { device: new MemoryDevice(512), serial: 'x', reservations }),
    SyntaxError,
  )
  assert.deepEqual(target.lunNumbers(), [])
  assert.equal(await readFile(path, 'utf8'), '{"registrations": [')
})

test('PREEMPT AND ABORT ends what the preempted had under way', async () => {
  const never = Promise.withResolvers<void>()
  class Slow extends MemoryDevice {
    override write(): Promise<void> {
      return never.promise
    }
  }
  await using server = new IscsiServer()
  const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
  target.addLun(0, { device: new Slow(1048576), serial: 'reserved', limits: { writeIops: 0.001 } })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const login = async (isid: string): Promise<RawInitiator> => {
    const raw = await RawInitiator.open(port)
    assert.equal((await raw.login(loginKeys('iqn.2026-01.test:me', NAME), { isid })).status, 0)
    while ((await raw.command(testUnitReadyCommand())).status !== ScsiStatus.good);
    return raw
  }
  await using alice = await login('800000000001')
  await using bob = await login('800000000002')
  assert.equal((await alice.command(...reserveOut(0, 0, 0, 1))).status, ScsiStatus.good)
  assert.equal((await bob.command(...reserveOut(0, 0, 0, 2))).status, ScsiStatus.good)
  // Held back by the limit: it would wait for a quarter of an hour.
  bob.sendCommand(...write)
  assert.equal((await bob.command(reserveIn(0), { read: 1024 })).status, ScsiStatus.good)
  assert.equal((await alice.command(...reserveOut(5, 1, 1, 2))).status, ScsiStatus.good)
  const told = await bob.command(testUnitReadyCommand())
  assert.equal(told.sense?.asc, Conditions.registrationsPreempted.asc)
  assert.equal(
    (await bob.command(testUnitReadyCommand())).sense?.asc,
    Conditions.commandsClearedByAnotherInitiator.asc,
  )
  assert.equal((await alice.command(reserveIn(0), { read: 1024 })).data.readUInt32BE(4), 8, 'one key is left')
  never.resolve()
})
