import { randomUUID } from 'node:crypto'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { NotFound } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { swiftAuthV1 } from '../../../swift/auth.ts'
import { SwiftClient } from '../../../swift/client.ts'
import { testSwift, whyNoSwift } from '../../../swift/test-support.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'

/** A store in a container of its own, on a real Swift. Images of 10 MiB and more are kept in segments. */
async function containerStore(): Promise<StoreUnderTest> {
  const { authUrl, user, key } = await testSwift()
  const container = `images-${randomUUID()}`
  const settings = {
    ...defaultsOf(definition.options),
    authVersion: '1' as const,
    authAddress: authUrl,
    user,
    key: new Secret(key),
    container,
    createContainer: true,
    largeObjectMib: 10,
    segmentMib: 3,
  }
  const call = uncancelled()
  const client = new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key: new Secret(key) }) })
  const open = async () => {
    const store = await definition.create(settings, testPlace('swift'))
    await store.start(call)
    return store
  }
  return {
    store: await open(),
    restart: open,
    async leftovers() {
      const names: string[] = []
      try {
        for await (const { name } of client.list(container, '', call)) names.push(name)
      } catch (error) {
        if (!(error instanceof NotFound)) throw error // no image was kept yet
      }
      return names
    },
    async [Symbol.asyncDispose]() {
      await client.deleteContainer(container, call)
      await client[Symbol.asyncDispose]()
    },
  }
}

const reason = whyNoSwift()
if (reason === undefined) imageStoreConformance('swift store', containerStore)
else process.stdout.write(`skipped: ${reason}\n`)
