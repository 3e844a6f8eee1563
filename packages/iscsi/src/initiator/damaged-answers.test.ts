import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { IscsiError, ScsiError } from '../errors.ts'
import { openIscsiDisk } from './disk.ts'
import { ScriptedTarget } from './scripted-target.fixture.ts'

const cancel = { signal: new AbortController().signal }
/** More for a deeper run: EMBERGLASS_FUZZ_ROUNDS=2000. */
const rounds = Number(process.env['EMBERGLASS_FUZZ_ROUNDS'] ?? 40)

/** Passes bytes through, but damages some of what the target says. */
async function startDamagingProxy(to: number, random: (below: number) => number) {
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(to, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far)
    far.on('data', (chunk: Buffer) => {
      if (random(3) === 0) chunk.writeUInt8(random(256), random(Math.min(chunk.byteLength, 60)))
      if (random(20) === 0) near.write(chunk.subarray(0, random(chunk.byteLength)))
      near.write(chunk)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test(`a target whose answers are damaged at random ends in an error or an answer, ${rounds} times`, async () => {
  await using target = await ScriptedTarget.start()
  let state = 20260101
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  await using proxy = await startDamagingProxy(target.port, random)
  const portals = [{ host: '127.0.0.1', port: proxy.port }]
  const names = { targetName: 'iqn.2026-01.test:disk', initiatorName: 'iqn.2026-01.test:me' }
  let failures = 0
  const round = async () => {
    try {
      const limits = { timeoutMs: 60, recoveryTimeoutMs: 60 }
      await using disk = await openIscsiDisk({ portals, ...names, lun: 0, ...limits }, cancel)
      const into = Buffer.alloc(65536)
      for (let at = 0; at < 8; at += 1) {
        await disk.write(at * 65536, into, cancel)
        await disk.read(at * 65536, into, cancel)
      }
    } catch (error) {
      const expected =
        error instanceof IscsiError || error instanceof ScsiError || error instanceof RangeError
      assert.ok(expected, String(error))
      failures += 1
    }
  }
  for (let done = 0; done < rounds; done += 8) {
    await Promise.all(Array.from({ length: Math.min(8, rounds - done) }, round))
  }
  assert.ok(failures > 0, 'nothing was damaged')
})
