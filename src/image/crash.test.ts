import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { sleep } from '../kernel/call.ts'
import { onEachEngine } from '../kernel/db/testing.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

const octets = { 'content-type': 'application/octet-stream' }

async function until(condition: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(20_000)
  while (!(await condition())) await sleep(10, signal)
}

/** Starts the service as a process. */
async function startChild(url: string, directory: string): Promise<{ child: ChildProcess; base: string }> {
  const script = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
  const child = spawn(process.execPath, ['--conditions=source', script, url, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let printed = ''
  for await (const chunk of child.stdout ?? []) {
    printed += String(chunk)
    if (printed.includes('\n')) break
  }
  return { child, base: printed.trim() }
}

onEachEngine((engine) => {
  test(`a process killed in the middle of an upload leaves nothing after the next start, on ${engine.name}`, async () => {
    await using place = await engine.place()
    const directory = await mkdtemp(join(tmpdir(), 'image-crash-'))
    try {
      const { child, base } = await startChild(place.url, directory)
      const headers = { 'x-auth-token': 'alice' }
      const created = await fetch(`${base}/v2/images`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ disk_format: 'raw', container_format: 'bare' }),
      })
      const { id } = (await created.json()) as { id: string }
      const upload = httpRequest(`${base}/v2/images/${id}/file`, {
        method: 'PUT',
        headers: { ...headers, ...octets },
      })
      upload.on('error', () => {}) // the other side is killed
      upload.write(Buffer.alloc(3_000_000))
      const images = join(directory, 'images')
      await until(async () => (await readdir(images)).some((name) => name.endsWith('.part')))
      child.kill('SIGKILL')
      await once(child, 'exit')
      assert.equal((await readdir(images)).length, 1)

      await using database = await place.open<ImageTables>({ jobs: jobMigrations })
      // on PostgreSQL another process might still be uploading: only the clock tells
      const later = () => new Date(Date.now() + 120_000)
      await using service = await startTestService(database, { directory, now: later })
      const show = async () => (await service.call('alice', 'GET', `/v2/images/${id}`)).json()
      assert.equal((await show())['status'], 'queued')
      await until(async () => (await readdir(images)).length === 0)
      assert.equal((await service.call('alice', 'PUT', `/v2/images/${id}/file`, 'whole', octets)).status, 204)
      assert.equal((await show())['status'], 'active')
      assert.deepEqual(await readdir(images), [id])
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  test(`a start leaves the uploads of other living processes alone, on ${engine.name}`, async (t) => {
    if (engine.name === 'SQLite') {
      t.skip('there is only one process')
      return
    }
    await using place = await engine.place()
    await using one = await place.open<ImageTables>({ jobs: jobMigrations })
    await using first = await startTestService(one)
    const base = await first.listen()
    const created = await first.call('alice', 'POST', '/v2/images', {
      disk_format: 'raw',
      container_format: 'bare',
    })
    const { id } = created.json<{ id: string }>()
    const answered = Promise.withResolvers<number | undefined>()
    const upload = httpRequest(
      `${base}/v2/images/${id}/file`,
      { method: 'PUT', headers: { 'x-auth-token': 'alice', ...octets } },
      (response) => answered.resolve(response.resume().statusCode),
    )
    upload.write('first')
    const status = async () => (await first.call('alice', 'GET', `/v2/images/${id}`)).json()['status']
    await until(async () => (await status()) === 'saving')

    await using two = await place.open<ImageTables>()
    await using _second = await startTestService(two)
    assert.equal(await status(), 'saving')
    upload.end()
    assert.equal(await answered.promise, 204)
    assert.equal(await status(), 'active')
  })
})
