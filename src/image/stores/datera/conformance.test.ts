import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EdfClient } from '@emberglass/edf'
import { startEdfNode } from '@emberglass/edf/node'
import { uncancelled } from '../../../kernel/call.ts'
import { Secret } from '../../../kernel/secret.ts'
import { imageStoreConformance, type StoreUnderTest } from '../../image-store.conformance.ts'
import { type DateraStoreSettings, dateraStoreOptions } from './options.ts'
import { DateraStore } from './store.ts'

/** A store in a tenant of its own, on an array of its own. */
async function storeOnArray(): Promise<StoreUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-array-'))
  const node = await startEdfNode({
    directory,
    host: '127.0.0.1',
    httpPort: 0,
    httpsPort: 0,
    iscsi: { host: '127.0.0.1', port: 0 },
  })
  const defaults = Object.entries(dateraStoreOptions).map(([key, option]) => [key, option.default])
  const settings = {
    // Sound: the options have exactly the properties of the settings, each with a default of its type.
    ...(Object.fromEntries(defaults) as DateraStoreSettings),
    host: '127.0.0.1',
    apiPort: Number(new URL(node.httpUrl).port),
    useSsl: false,
    login: node.login,
    password: new Secret(node.password),
    tenant: 'images',
    replicaCount: 1,
  }
  const open = async () => {
    const store = new DateraStore(settings, 'iqn.2026-01.org.emberglass:test-images')
    await store.start(uncancelled())
    return store
  }
  const store = await open()
  const client = await EdfClient.connect(
    {
      host: '127.0.0.1',
      port: settings.apiPort,
      tls: false,
      login: 'admin',
      password: node.password,
      driver: 'test',
    },
    uncancelled(),
  )
  return {
    store,
    restart: open,
    leftovers: async () => {
      const found = await client.in('/root/images').appInstances.list({}, uncancelled())
      return found.map(({ name }) => name)
    },
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]()
      await client.close()
      await node.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

imageStoreConformance('datera', storeOnArray)
