import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDatabase } from '../kernel/db/database.ts'
import { migrate } from '../kernel/db/migrate.ts'
import { jobMigrations } from '../kernel/jobs/migrations.ts'
import type { ImageTables } from './db/tables.ts'
import { startTestService } from './testing.ts'

interface Operation {
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly min_version: string
  readonly success: readonly number[]
  readonly admin: boolean
  readonly policy: string | null
}

const contract = join(import.meta.dirname, '../../test/contracts/image-routes.json')

const conf = `[DEFAULT]
enabled_backends = alpha:file, beta:file
image_cache_dir = $DIRECTORY/cache
worker_self_reference_url = http://node-1:9292
show_multiple_locations = true
enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]
[paste_deploy]
flavor = keystone+cachemanagement
[glance_store]
default_backend = alpha
[alpha]
filesystem_store_datadir = $DIRECTORY/alpha
[beta]
filesystem_store_datadir = $DIRECTORY/beta
`

/** Parameters of paths, filled with what does not exist. */
const absent: Readonly<Record<string, string>> = {
  image_id: '00000000-0000-4000-8000-000000000000',
  member_id: 'nobody',
  tag: 'none',
  task_id: '00000000-0000-4000-8000-000000000000',
  store_id: 'alpha',
  namespace_name: 'None',
  resource_type: 'None',
  property_name: 'none',
  object_name: 'none',
  tag_name: 'none',
}

const filled = (path: string) =>
  path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = absent[name]
    assert.ok(value !== undefined, `${path} has a parameter that the test does not know: ${name}`)
    return value
  })

test('every operation of the contract is served, and needs the token and the role that it says', async () => {
  const operations: readonly Operation[] = JSON.parse(await readFile(contract, 'utf8'))
  assert.equal(operations.length, 98)
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, { conf })
  const nothing = (await service.call('admin', 'GET', '/v2/nothing-like-this')).text
  for (const operation of operations) {
    const { id, method } = operation
    const path = filled(operation.path)
    const isVersioned = path.startsWith('/v2')
    const headers: Record<string, string> =
      method === 'PATCH' ? { 'content-type': 'application/openstack-images-v2.1-json-patch' } : {}
    const call = (as: string | undefined, at = path) =>
      service.call(as, method, at, method === 'GET' ? undefined : {}, headers)

    const anonymous = await call(undefined)
    assert.equal(anonymous.status === 401, isVersioned, `${id} without a token: ${anonymous.status}`)
    const answer = await call('admin')
    assert.notEqual(answer.text, nothing, `${id} is not served`)
    assert.ok(answer.status < 500, `${id}: ${answer.status} ${answer.text}`)
    const refused = operation.success.includes(405)
    assert.equal(answer.status === 405, refused, `${id}: ${method} ${path} is ${answer.status}`)
    if (isVersioned) {
      const older = await call('admin', path.replace('/v2', `/v${operation.min_version}`))
      assert.equal(older.status, answer.status, `${id} by the name of its version`)
    }
    // what only administrators may do is refused before it is looked for, where no image is in the path
    const isGlobal =
      !/\{(image_id|namespace_name)\}/.test(operation.path) || operation.path.includes('/cache')
    if (operation.admin && isGlobal && !refused) {
      assert.equal((await call('alice')).status, 403, `${id} as a member`)
    }
  }
})

test('a healthy service says so, and one that is taken out of rotation too', async () => {
  await using database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  await using service = await startTestService(database, {
    conf: '[healthcheck]\ndisable_by_file_path = $DIRECTORY/out\n',
  })
  const check = (method: 'GET' | 'HEAD') => service.call(undefined, method, '/healthcheck')
  assert.deepEqual([(await check('GET')).status, (await check('HEAD')).status], [200, 200])
  const { writeFile } = await import('node:fs/promises')
  await writeFile(join(service.directory, 'out'), '')
  const out = await check('GET')
  assert.deepEqual([out.status, out.text], [503, 'DISABLED BY FILE'])
})
