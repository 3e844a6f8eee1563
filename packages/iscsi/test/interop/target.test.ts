import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { IscsiServer, type IscsiTarget } from '@emberglass/iscsi'
import { missing, run } from './libiscsi.fixture.ts'
import { ThinDevice } from './thin-device.fixture.ts'

const NAME = 'iqn.2026-01.test:interop'
const ME = 'iqn.2026-01.test:me'
const libiscsi = missing('iscsi-test-cu', 'libiscsi-bin')
const qemu = missing('qemu-img', 'qemu-utils and qemu-block-extra')

describe('other initiators with our target', () => {
  let server: IscsiServer
  let target: IscsiTarget
  let port: number
  let folder: string
  const url = (lun = 0) => `iscsi://127.0.0.1:${port}/${NAME}/${lun}`

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'iscsi-interop-'))
    server = new IscsiServer()
    target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
    target.addLun(0, { device: new ThinDevice(64 * 1048576), serial: 'interop-0' })
    target.addLun(1, { device: new ThinDevice(64 * 1048576, 4096), serial: 'interop-1' })
    ;({ port } = await server.listen({ host: '127.0.0.1', port: 0 }))
  })

  after(async () => {
    await server.close()
    await rm(folder, { recursive: true })
  })

  test('iscsi-ls lists the target with its LUNs', { skip: libiscsi }, async () => {
    const { code, output } = await run('iscsi-ls', ['-s', `iscsi://127.0.0.1:${port}`])
    assert.equal(code, 0, output)
    assert.match(output, new RegExp(`Target:${NAME} Portal:127.0.0.1:${port},1`))
    assert.match(output, /Lun:0 +Type:DIRECT_ACCESS.*Lun:1 +Type:DIRECT_ACCESS/s)
  })

  test('iscsi-inq reads the identity that multipath looks for', { skip: libiscsi }, async () => {
    const { code, output } = await run('iscsi-inq', [url()])
    assert.equal(code, 0, output)
    assert.match(output, /Vendor:DATERA\s/)
    assert.match(output, /Product:IBLOCK\s/)
    assert.match(output, /TPGS:1/)
    const serial = await run('iscsi-inq', ['-e', '1', '-c', '128', url()])
    assert.match(serial.output, /interop-0/)
  })

  test('an initiator that is not in the list is refused', { skip: libiscsi }, async () => {
    await target.setAccess({ initiators: [ME] })
    try {
      const stranger = await run('iscsi-inq', ['-i', 'iqn.2026-01.test:stranger', url()])
      assert.notEqual(stranger.code, 0)
      assert.match(stranger.output, /[Aa]uthorization failure|not authorized|514/)
      assert.equal((await run('iscsi-inq', ['-i', ME, url()])).code, 0)
    } finally {
      await target.setAccess({ initiators: 'any' })
    }
  })

  test('libiscsi logs in with CHAP, and not without', { skip: libiscsi }, async () => {
    await target.setAccess({ initiators: 'any', chap: { username: 'me', password: 'a-secret-of-16-b' } })
    try {
      const at = (user: string) => `iscsi://${user}@127.0.0.1:${port}/${NAME}/0`
      assert.equal((await run('iscsi-inq', [at('me%a-secret-of-16-b')])).code, 0)
      assert.notEqual((await run('iscsi-inq', [at('me%another-secret-b')])).code, 0)
      assert.notEqual((await run('iscsi-inq', [url()])).code, 0)
    } finally {
      await target.setAccess({ initiators: 'any' })
    }
  })

  for (const lun of [0, 1]) {
    test(`qemu-img reads back what it wrote, LUN ${lun}`, { skip: qemu }, async () => {
      const image = join(folder, 'image')
      const bytes = randomBytes(24 * 1048576)
      await writeFile(image, bytes)
      const raw = ['-f', 'raw', '-O', 'raw']
      const written = await run('qemu-img', ['convert', '-n', ...raw, image, url(lun)])
      assert.equal(written.code, 0, written.output)
      const copy = join(folder, 'copy')
      const read = await run('qemu-img', ['convert', ...raw, url(lun), copy])
      assert.equal(read.code, 0, read.output)
      assert.ok((await readFile(copy)).subarray(0, bytes.byteLength).equals(bytes))
    })
  }

  test('qemu-io discards, zeroes and flushes', { skip: qemu }, async () => {
    const commands = ['write -P 90 12k 2M', 'read -P 90 12k 2M', 'discard 1M 512k', 'read -P 0 1M 512k']
    commands.push('write -z 0 64k', 'read -P 0 0 64k', 'write -f -P 7 0 4k', 'read -P 7 0 4k', 'flush')
    const { code, output } = await run('qemu-io', ['-f', 'raw', ...commands.flatMap((c) => ['-c', c]), url()])
    assert.equal(code, 0, output)
    assert.doesNotMatch(output, /failed|error/i)
  })
})
