import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { Misconfigured } from '../kernel/errors.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

const rules = `[^x_secret$]
create = admin
read = admin
update = admin
delete = admin

[^x_]
create = member
read = @
update = member
delete = !

[.*]
create = @
read = @
update = @
delete = @
`

async function withProtections(text: string, format = 'roles') {
  const database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  const { mkdtemp } = await import('node:fs/promises')
  const { tmpdir } = await import('node:os')
  const directory = await mkdtemp(join(tmpdir(), 'image-protections-'))
  await writeFile(join(directory, 'protections.conf'), text)
  await writeFile(join(directory, 'policy.yaml'), '"own_rule": "role:reader"\n')
  const conf = `[DEFAULT]\nproperty_protection_file = $DIRECTORY/protections.conf\nproperty_protection_rule_format = ${format}\n`
  return { database, start: () => startTestService(database, { directory, conf }) }
}

test('properties are created, seen, changed and removed by those who may', async () => {
  const { database, start } = await withProtections(rules)
  await using _database = database
  await using service = await start()
  const create = (as: string, body: object) => service.call(as, 'POST', '/v2/images', body)
  assert.equal((await create('alice', { x_secret: '1' })).status, 403)
  const made = await create('admin', { x_secret: '1', x_open: '2', other: '3', owner: 'project-a' })
  assert.equal(made.status, 201, made.text)
  const { id } = made.json<{ id: string }>()
  const shown = (await service.call('alice', 'GET', `/v2/images/${id}`)).json()
  assert.deepEqual([shown['x_secret'], shown['x_open'], shown['other']], [undefined, '2', '3'])
  const listed = (await service.call('alice', 'GET', '/v2/images')).text
  assert.ok(!listed.includes('x_secret'))
  assert.equal((await service.call('admin', 'GET', `/v2/images/${id}`)).json()['x_secret'], '1')

  const type = { 'content-type': 'application/openstack-images-v2.1-json-patch' }
  const patch = async (op: string, path: string, as = 'alice') => {
    const entry = op === 'remove' ? { op, path } : { op, path, value: 'new' }
    return (await service.call(as, 'PATCH', `/v2/images/${id}`, [entry], type)).status
  }
  assert.equal(await patch('replace', '/x_open'), 200)
  assert.equal(await patch('remove', '/x_open'), 403)
  assert.equal(await patch('add', '/x_more'), 200)
  assert.equal(await patch('add', '/x_secret'), 403)
  assert.equal(await patch('replace', '/x_secret'), 409, 'it looks as if it were not there')
  assert.equal(await patch('remove', '/x_secret'), 409)
  assert.equal(await patch('remove', '/other'), 200)
  assert.equal(await patch('remove', '/x_secret', 'admin'), 200)
})

test('protections may name policy rules; a property that no section knows is nobody’s', async () => {
  const section = '[^p_]\ncreate = own_rule\nread = own_rule\nupdate = !\ndelete = @\n'
  const { database, start } = await withProtections(section, 'policies')
  await using _database = database
  await using service = await start()
  assert.equal((await service.call('alice', 'POST', '/v2/images', { p_a: '1' })).status, 201)
  assert.equal((await service.call('admin', 'POST', '/v2/images', { q: '1' })).status, 403)
})

test('a file that lacks a rule, or contradicts itself, stops the start', async () => {
  for (const text of [
    '[^x]\ncreate = @\nread = @\nupdate = @\n',
    '[^x]\ncreate = @,!\nread=@\nupdate=@\ndelete=@\n',
    '[(]\ncreate=@\n',
  ]) {
    const { database, start } = await withProtections(text)
    await using _database = database
    await assert.rejects(start(), Misconfigured)
  }
})
