import { after } from 'node:test'
import type { EdfClient } from '@emberglass/edf'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { storeOn } from './store.test-support.ts'

/** One array for all cases; each case has a tenant of its own on it. */
let started: Promise<{ array: TestArray; client: EdfClient }> | undefined
let cases = 0

after(async () => {
  const running = await started
  await running?.client.close()
  await running?.array[Symbol.asyncDispose]()
})

async function start(): Promise<{ array: TestArray; client: EdfClient }> {
  const array = await TestArray.start()
  return { array, client: await array.connect() }
}

async function storeOnArray(): Promise<StoreUnderTest> {
  started ??= start()
  const { array, client } = await started
  cases += 1
  const tenant = `case-${cases}`
  const open = async () => {
    const store = storeOn(array, { tenant })
    await store.start(uncancelled())
    return store
  }
  const store = await open()
  return {
    store,
    restart: open,
    leftovers: async () => {
      const found = await client.in(`/root/${tenant}`).appInstances.list({}, uncancelled())
      return found.map(({ name }) => name)
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

imageStoreConformance('datera', storeOnArray)
