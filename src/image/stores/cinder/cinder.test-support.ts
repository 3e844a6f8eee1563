import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startInstance } from '../../../../test/support/instance.ts'
import { type BlockStorageClient, createBlockStorageClient } from '../../../clients/block-storage.ts'
import { type KeystoneSession, keystoneSession } from '../../../clients/keystone.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { Secret } from '../../../kernel/secret.ts'
import { testPlace } from '../../testing.ts'
import definition from './definition.ts'
import { type CinderStoreSettings, cinderStoreOptions } from './options.ts'
import type { CinderStore } from './store.ts'

/** A whole block storage service with its identity service and its array, in processes of their own. */
export interface TestCinder extends AsyncDisposable {
  readonly identityUrl: string
  readonly session: KeystoneSession
  readonly client: BlockStorageClient
  /** Settings with which a store logs in as an administrator. */
  settings(changes?: Partial<CinderStoreSettings>): CinderStoreSettings
  /** A store of these settings; not started. */
  store(changes?: Partial<CinderStoreSettings>): Promise<CinderStore>
}

/** Starts it, without quotas. */
export async function startTestCinder(): Promise<TestCinder> {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'cinder-store-'))
  const instance = await startInstance({ stateDirectory })
  const environment = await instance.environment()
  const value = (name: string) => environment[name] ?? ''
  const identityUrl = value('OS_AUTH_URL')
  const password = new Secret(value('OS_PASSWORD'))
  const login = {
    username: value('OS_USERNAME'),
    password,
    userDomainName: value('OS_USER_DOMAIN_NAME'),
    projectName: value('OS_PROJECT_NAME'),
    projectDomainName: value('OS_PROJECT_DOMAIN_NAME'),
  }
  const session = keystoneSession({ authUrl: identityUrl, credentials: login })
  const signal = AbortSignal.timeout(60_000)
  const endpoint = await session.endpoint({ type: 'volumev3' }, signal)
  const quota = { volumes: -1, gigabytes: -1, per_volume_gigabytes: -1 }
  await session.fetch(`${endpoint}/os-quota-sets/${await session.projectId(signal)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ quota_set: quota }),
    signal,
  })
  const settings = (changes: Partial<CinderStoreSettings> = {}): CinderStoreSettings => ({
    ...defaultsOf<CinderStoreSettings>(cinderStoreOptions),
    user: login.username,
    password,
    project: login.projectName,
    userDomain: login.userDomainName,
    projectDomain: login.projectDomainName,
    ...changes,
  })
  return {
    identityUrl,
    session,
    client: createBlockStorageClient({ session, endpoint: async () => endpoint }),
    settings,
    store: async (changes) =>
      (await definition.create(settings(changes), testPlace('volumes', { identityUrl }))) as CinderStore,
    async [Symbol.asyncDispose]() {
      await instance.stop()
      await rm(stateDirectory, { recursive: true, force: true })
    },
  }
}
