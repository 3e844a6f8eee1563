import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { IscsiError } from '../errors.ts'
import { discoverTargets } from '../initiator/discover.ts'
import { openIscsiDisk } from '../initiator/disk.ts'
import type { Chap } from '../login/chap.ts'
import { IscsiServer, type IscsiServerOptions } from './server.ts'
import type { TargetAccess } from './target.ts'

const cancel = { signal: new AbortController().signal }
const targetName = 'iqn.2026-01.test:access'
const alice = { name: 'iqn.2026-01.test:alice', chap: { username: 'alice', password: 'what alice knows' } }
const bob = {
  name: 'iqn.2026-01.test:bob',
  chap: {
    username: 'bob',
    password: 'what bob knows',
    mutual: { username: 'disk', password: 'what the disk knows' },
  },
}
const carol = 'iqn.2026-01.test:carol'
const shared = { username: 'all', password: 'what all others know' }

async function serve(access: TargetAccess, options: IscsiServerOptions = {}) {
  const server = new IscsiServer(options)
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  server
    .addTarget({ name: targetName, access })
    .addLun(0, { device: new MemoryDevice(65536), serial: 'access' })
  const portal = { host: '127.0.0.1', port }
  return {
    /** @returns how the login went: 'in', or the code of the error */
    async login(initiatorName: string, chap?: Chap): Promise<string> {
      const identity = chap === undefined ? { initiatorName } : { initiatorName, chap }
      try {
        await using disk = await openIscsiDisk({ portals: [portal], targetName, lun: 0, ...identity }, cancel)
        return disk.sizeBytes === 65536 ? 'in' : 'elsewhere'
      } catch (error) {
        if (error instanceof IscsiError) return error.code
        throw error
      }
    },
    async discover(initiatorName: string, chap?: Chap): Promise<string> {
      try {
        const identity = chap === undefined ? { initiatorName } : { initiatorName, chap }
        return `${(await discoverTargets(portal, identity, cancel)).length} targets`
      } catch (error) {
        if (error instanceof IscsiError) return error.code
        throw error
      }
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

describe('access to a target', () => {
  test('each initiator proves its own secret, the others that of the target', async () => {
    await using target = await serve({ initiators: [alice, bob, carol], chap: shared })
    assert.equal(await target.login(alice.name, alice.chap), 'in')
    assert.equal(await target.login(alice.name.toUpperCase(), alice.chap), 'in')
    assert.equal(await target.login(bob.name, bob.chap), 'in')
    assert.equal(await target.login(carol, shared), 'in')
    assert.equal(await target.login(bob.name, alice.chap), 'authentication')
    assert.equal(await target.login(alice.name, shared), 'authentication')
    assert.equal(await target.login(carol, alice.chap), 'authentication')
    assert.notEqual(await target.login(alice.name), 'in')
    assert.notEqual(await target.login('iqn.2026-01.test:dave', shared), 'in')
  })

  test('mutual CHAP in every combination of what both ends know', async () => {
    const { mutual, ...oneWay } = bob.chap
    const wrong = { username: 'disk', password: 'what no disk knows' }
    const wrongName = { username: 'other', password: mutual.password }
    for (const [knows, asks, outcome] of [
      [bob.chap, bob.chap, 'in'],
      [bob.chap, oneWay, 'in'],
      [oneWay, oneWay, 'in'],
      [oneWay, bob.chap, 'authentication'],
      [bob.chap, { ...bob.chap, mutual: wrong }, 'authentication'],
      [bob.chap, { ...bob.chap, mutual: wrongName }, 'authentication'],
      [bob.chap, { ...bob.chap, password: 'not what bob knows' }, 'authentication'],
      [bob.chap, { ...bob.chap, username: 'rob' }, 'authentication'],
      [undefined, bob.chap, 'authentication'],
      [undefined, oneWay, 'in'],
    ] as const) {
      await using target = await serve({ initiators: 'any', ...(knows === undefined ? {} : { chap: knows }) })
      const what = `the target knows ${JSON.stringify(knows)}, the initiator wants ${JSON.stringify(asks)}`
      assert.equal(await target.login(bob.name, asks), outcome, what)
    }
  })

  test('discovery asks for a secret where one is set, and for none else', async () => {
    await using open = await serve({ initiators: [alice] })
    assert.equal(await open.discover(alice.name), '1 targets')
    assert.equal(await open.discover(alice.name, alice.chap), '1 targets')
    assert.equal(await open.discover(bob.name), '0 targets')
    await using closed = await serve({ initiators: [alice] }, { discoveryChap: shared })
    assert.equal(await closed.discover(alice.name, shared), '1 targets')
    assert.notEqual(await closed.discover(alice.name), '1 targets')
    assert.equal(await closed.discover(alice.name, alice.chap), 'authentication')
  })
})
