import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { discoverTargets } from '../initiator/discover.ts'
import { inquiryCommand, testUnitReadyCommand } from '../scsi/command-block.ts'
import { Conditions } from '../scsi/sense.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { IscsiServer } from './server.ts'

const NAME = 'iqn.2026-01.test:paths'
const ME = 'iqn.2026-01.test:me'

function reportTargetPortGroups(): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(0xa3, 0)
  cdb.writeUInt8(0x0a, 1)
  cdb.writeUInt32BE(256, 6)
  return cdb
}

/** Tag and state of each group. */
async function groupsSeenBy(raw: RawInitiator): Promise<number[][]> {
  const { status, data } = await raw.command(reportTargetPortGroups(), { read: 256 })
  assert.equal(status, ScsiStatus.good)
  const groups: number[][] = []
  for (let at = 4; at < 4 + data.readUInt32BE(0); at += 12) {
    groups.push([data.readUInt16BE(at + 2), data.readUInt8(at) & 0x0f])
  }
  return groups
}

test('each portal group has a state, and initiators hear of a change', async () => {
  await using server = new IscsiServer()
  const target = server.addTarget({ name: NAME, access: { initiators: [ME] } })
  target.addLun(0, { device: new MemoryDevice(1048576), serial: 'paths' })
  const first = await server.listen({ host: '127.0.0.1', port: 0 })
  const second = await server.listen({ host: '127.0.0.1', port: 0, portalGroupTag: 2 })
  const [found] = await discoverTargets(
    first,
    { initiatorName: ME },
    { signal: new AbortController().signal },
  )
  assert.deepEqual(
    found?.portals.map(({ port, groupTag }) => [port, groupTag]),
    [
      [first.port, 1],
      [second.port, 2],
    ],
  )
  const login = async (port: number): Promise<RawInitiator> => {
    const raw = await RawInitiator.open(port)
    const { status, text } = await raw.login(loginKeys(ME, NAME))
    assert.equal(status, 0)
    assert.match(text, new RegExp(`TargetPortalGroupTag=${port === first.port ? 1 : 2}\0`))
    assert.equal((await raw.command(testUnitReadyCommand())).sense?.asc, Conditions.powerOn.asc)
    return raw
  }
  // The same initiator port at two groups: two nexuses, neither of which takes the other's place.
  await using one = await login(first.port)
  await using two = await login(second.port)
  assert.equal(target.sessions().length, 2)
  assert.deepEqual(await groupsSeenBy(one), [
    [1, 0],
    [2, 0],
  ])
  target.setAccessState(2, 'standby')
  for (const raw of [one, two]) {
    const { sense } = await raw.command(testUnitReadyCommand())
    assert.deepEqual([sense?.asc, sense?.ascq], [0x2a, 0x06])
  }
  assert.equal((await one.command(testUnitReadyCommand())).status, ScsiStatus.good)
  const refused = await two.command(testUnitReadyCommand())
  assert.deepEqual([refused.sense?.key, refused.sense?.asc, refused.sense?.ascq], [2, 0x04, 0x0b])
  assert.equal((await two.command(inquiryCommand(96), { read: 96 })).status, ScsiStatus.good)
  assert.deepEqual(await groupsSeenBy(two), [
    [1, 0],
    [2, 2],
  ])
  target.setAccessState(2, 'activeNonOptimized')
  assert.equal((await two.command(testUnitReadyCommand())).sense?.ascq, 0x06)
  assert.equal((await two.command(testUnitReadyCommand())).status, ScsiStatus.good)
})
