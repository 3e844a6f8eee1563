import { after } from 'node:test'
import type { EdfClient } from '@emberglass/edf'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { Secret } from '../../../kernel/secret.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { type DateraStoreSettings, dateraStoreOptions } from './options.ts'
import { DateraStore } from './store.ts'

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
  const defaults = Object.entries(dateraStoreOptions).map(([key, option]) => [key, option.default])
  const settings = {
    // Sound: the options have exactly the properties of the settings, each with a default of its type.
    ...(Object.fromEntries(defaults) as DateraStoreSettings),
    host: '127.0.0.1',
    apiPort: array.proxy.port,
    useSsl: false,
    login: array.node.login,
    password: new Secret(array.node.password),
    tenant,
    replicaCount: 1,
  }
  const open = async () => {
    const store = new DateraStore(settings, 'iqn.2026-01.org.emberglass:test-images')
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
