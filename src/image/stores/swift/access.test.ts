import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Secret } from '../../../kernel/secret.ts'
import { swiftAuthV1 } from '../../../swift/auth.ts'
import { SwiftClient } from '../../../swift/client.ts'
import { testSwift, whyNoSwift } from '../../../swift/test-support.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'

const skip = whyNoSwift() ?? false

test("the container of an image in its owner's account says who may read it", { skip }, async () => {
  const { authUrl, user, key } = await testSwift()
  const call = uncancelled()
  await using store = await definition.create(
    {
      ...defaultsOf(definition.options),
      authVersion: '1',
      authAddress: authUrl,
      user,
      key: new Secret(key),
      container: 'access',
      createContainer: true,
      multiTenant: true,
      adminTenants: ['operators'],
    },
    testPlace('swift'),
  )
  await store.start(call)
  await using client = new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key: new Secret(key) }) })
  const imageId = randomUUID()
  const container = `access_${imageId}`
  const bytes = (async function* () {
    yield Buffer.from('an image')
  })()
  const { location } = await store.put(imageId, bytes, 8, call)
  try {
    const readers = async () => {
      const headers = await client.headContainer(container, call)
      return [headers['x-container-read'], headers['x-container-write']]
    }
    assert.deepEqual(await readers(), [undefined, 'operators:*'])
    await store.access?.grant(location, { everybody: false, projectIds: ['one', 'two'] }, call)
    assert.deepEqual(await readers(), ['one:*,two:*', 'operators:*'])
    await store.access?.grant(location, { everybody: true, projectIds: [] }, call)
    assert.deepEqual(await readers(), ['*:*', 'operators:*'])
    await store.access?.grant(location, { everybody: false, projectIds: [] }, call)
    assert.deepEqual(await readers(), [undefined, 'operators:*'])
  } finally {
    await store.delete(location, call)
  }
})
