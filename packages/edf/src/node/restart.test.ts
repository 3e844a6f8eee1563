import assert from 'node:assert/strict'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { testUnitReadyCommand, writeCommand } from '../../../iscsi/src/scsi/command-block.ts'
import { loginKeys, RawInitiator } from '../../../iscsi/src/target/raw-initiator.fixture.ts'
import { aptpl, reserveOut } from '../../../iscsi/src/target/reservations.fixture.ts'
import { EdfNodeStartError } from './errors.ts'
import { type EdfNodeOptions, startEdfNode } from './start.ts'
import { type Json, NodeUnderTest, storagePath, temporaryDirectory, volumePathOf } from './testing.ts'

const cancel = { signal: new AbortController().signal }
const iqn = 'iqn.1993-08.org.debian:01:host'

const anywhere: Omit<EdfNodeOptions, 'directory'> = {
  host: '127.0.0.1',
  httpPort: 0,
  httpsPort: 0,
  iscsi: { host: '127.0.0.1', port: 0 },
}

function disk(si: Json) {
  const [host = '', port] = si.access.portals[0].split(':')
  return openIscsiDisk(
    {
      portals: [{ host, port: Number(port) }],
      targetName: si.access.iqn,
      lun: 0,
      initiatorName: iqn,
      timeoutMs: 5000,
      recoveryTimeoutMs: 500,
    },
    cancel,
  )
}

test('after a restart everything is as it was: ids, names, access, data, password, certificate', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await NodeUnderTest.start({ after: () => {} }, { directory })
  const ai = await first.createVolume('lasting')
  await first.ok('POST', '/initiators', { id: iqn, name: 'host' })
  await first.ok('PUT', `${storagePath(ai)}/acl_policy`, { initiators: [{ path: `/initiators/${iqn}` }] })
  await first.ok('PUT', `${ai.path}/int_ecosystem_data`, { data: { length: 1 } })
  await first.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
  const offline = await first.createVolume('resting')
  await first.ok('PUT', offline.path, { admin_state: 'offline' })
  const opened = await disk(ai.storage_instances[0])
  await opened.write(0, Buffer.alloc(4096, 9), cancel)
  await opened.flush(cancel)
  await opened[Symbol.asyncDispose]()
  const before = await first.ok('GET', ai.path)
  const system = await first.ok('GET', '/system')
  await first.node.close()

  const second = await NodeUnderTest.start(t, { directory })
  assert.equal(second.node.password, first.node.password)
  const after = await second.ok('GET', ai.path)
  const steady = (instance: Json) => {
    const copy = structuredClone(instance)
    for (const si of copy.storage_instances) {
      delete si.access.portals
      delete si.active_initiators
    }
    return copy
  }
  assert.deepEqual(steady(after), steady(before))
  assert.equal((await second.ok('GET', '/system')).uuid, system.uuid)
  assert.equal((await second.ok('GET', storagePath(offline))).op_state, 'unavailable')
  const again = await disk(after.storage_instances[0])
  assert.equal((await readBytes(again, 0, 512, cancel))[0], 9)
  await again[Symbol.asyncDispose]()
  const snapshot = await second.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
  assert.ok(snapshot.utc_ts > before.storage_instances[0].volumes[0].snapshots[0].utc_ts)
})

test('a persistent reservation that is to be kept holds after a restart; one that is not has gone', async (t) => {
  const directory = await temporaryDirectory(t)
  const [good, conflict] = [0x00, 0x18]
  const write = [writeCommand(0, 1), { write: Buffer.alloc(512) }] as const
  const login = async (ai: Json, isid: string) => {
    const [si] = ai.storage_instances
    const raw = await RawInitiator.open(Number(si.access.portals[0].split(':')[1]))
    assert.equal((await raw.login(loginKeys(iqn, si.access.iqn), { isid })).status, 0)
    // Each new session is told first that it is one.
    while ((await raw.command(testUnitReadyCommand())).status !== good);
    return raw
  }
  const first = await NodeUnderTest.start({ after: () => {} }, { directory })
  for (const [name, flags] of [
    ['kept', aptpl],
    ['dropped', 0],
  ] as const) {
    await using alice = await login(
      await first.createVolume(name, 1, { access_control_mode: 'allow_all' }),
      '800000000001',
    )
    assert.equal((await alice.command(...reserveOut(0, 0, 0, 7, flags))).status, good)
    assert.equal((await alice.command(...reserveOut(1, 1, 7, 0))).status, good)
  }
  await first.node.close()
  const second = await NodeUnderTest.start(t, { directory })
  const [kept, dropped] = await second.ok('GET', '/app_instances')
  await using alice = await login(kept, '800000000001')
  await using bob = await login(kept, '800000000002')
  await using other = await login(dropped, '800000000002')
  assert.equal((await bob.command(...write)).status, conflict)
  assert.equal((await alice.command(...write)).status, good)
  assert.equal((await other.command(...write)).status, good)
})

test('a given password replaces the one before, and the files are for the owner only', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await startEdfNode({ ...anywhere, directory })
  await first.close()
  assert.equal((await readFile(join(directory, 'admin-password'), 'utf8')).trim(), first.password)
  for (const file of ['admin-password', 'metadata.sqlite', 'tls.key']) {
    assert.equal((await stat(join(directory, file))).mode & 0o077, 0, file)
  }
  assert.equal((await stat(directory)).mode & 0o077, 0)
  const second = await NodeUnderTest.start(t, { directory, adminPassword: 'another-password' })
  await second.ok('GET', '/system')
  const old = { name: 'admin', password: first.password }
  await second.refused(401, 'AuthFailedError', 'PUT', '/login', old)
})

test('what is in the way of a start is one line and a code', async (t) => {
  const directory = await temporaryDirectory(t)
  const running = await NodeUnderTest.start(t, { directory })
  const refused = async (code: string, options: Partial<EdfNodeOptions>) => {
    await assert.rejects(startEdfNode({ ...anywhere, directory, ...options }), (error: unknown) => {
      assert.ok(error instanceof EdfNodeStartError, String(error))
      assert.equal(error.code, code, error.message)
      assert.ok(!error.message.includes('\n'))
      return true
    })
  }
  await refused('EDIRLOCKED', {})
  const elsewhere = await temporaryDirectory(t)
  const httpPort = Number(new URL(running.node.httpUrl).port)
  await refused('EADDRINUSE', { directory: elsewhere, httpPort })
  await refused('EADDRINUSE', { directory: elsewhere, httpsPort: httpPort })
  await refused('EADDRINUSE', { directory: elsewhere, iscsi: { host: '127.0.0.1', port: httpPort } })
  await refused('EINVAL', { directory: elsewhere, productVersion: '3.3-beta' })
  await writeFile(join(elsewhere, 'file'), '')
  await refused('ENOTDIR', { directory: join(elsewhere, 'file', 'below') })
  const damaged = await temporaryDirectory(t)
  await writeFile(join(damaged, 'metadata.sqlite'), 'not a database, but long enough to look at'.repeat(100))
  await refused('EDIRDAMAGED', { directory: damaged })
  await chmod(damaged, 0o700)
  const node = await startEdfNode({ ...anywhere, directory: elsewhere })
  await node.close()
  await node.close()
})
