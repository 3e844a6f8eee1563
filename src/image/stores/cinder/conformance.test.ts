import { after, before } from 'node:test'
import { uncancelled } from '../../../kernel/call.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { startTestCinder, type TestCinder } from './cinder.test-support.ts'

let cinder: TestCinder

before(async () => {
  cinder = await startTestCinder()
})
after(async () => {
  await cinder[Symbol.asyncDispose]()
})

/** A store in the project of an administrator, whose other volumes are not looked at. */
async function projectStore(): Promise<StoreUnderTest> {
  const open = async () => {
    const store = await cinder.store()
    await store.start(uncancelled())
    return store
  }
  return {
    store: await open(),
    restart: open,
    leftovers: async () =>
      (await cinder.client.list('image-', uncancelled().signal)).map(
        ({ name, status, attachments }) => `${name} ${status} ${attachments.length}`,
      ),
    async [Symbol.asyncDispose]() {},
  }
}

imageStoreConformance('cinder store', projectStore)
