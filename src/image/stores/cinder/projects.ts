import { type BlockStorageClient, createBlockStorageClient } from '../../../clients/block-storage.ts'
import {
  type KeystoneCredentials,
  type KeystoneSession,
  keystoneSession,
  keystoneTokenSession,
} from '../../../clients/keystone.ts'
import { Misconfigured, Unauthenticated } from '../../../kernel/errors.ts'
import { readTrust, type TlsTrust } from '../../../kernel/tls-trust.ts'
import type { StoreCall } from '../../image-store.ts'
import type { CinderStoreSettings } from './options.ts'

/** Whose volumes a store works with: those of its own project, or those of the requester's. */
export class CinderProjects {
  /** Images go to the requester's project. */
  readonly multiTenant: boolean
  readonly #settings: CinderStoreSettings
  readonly #identityUrl: string | undefined
  readonly #trust: TlsTrust
  readonly #own: BlockStorageClient | undefined

  /** @throws Misconfigured */
  constructor(settings: CinderStoreSettings, place: { name: string; identityUrl?: string | undefined }) {
    this.#settings = settings
    this.#identityUrl = settings.authAddress ?? place.identityUrl
    this.#trust = readTrust('cinder_ca_certificates_file', settings.caFile, settings.insecure)
    const credentials = credentialsOf(settings, place.name)
    this.multiTenant = settings.multiTenant ?? credentials === undefined
    if (credentials === undefined && !this.multiTenant) {
      throw new Misconfigured(
        `[${place.name}] cinder_store_multitenant is off: the store needs cinder_store_project_name, cinder_store_user_name and cinder_store_password.`,
        { details: { section: place.name, option: 'cinder_store_multitenant' } },
      )
    }
    if (this.#identityUrl === undefined) {
      throw new Misconfigured(`[${place.name}] of type cinder needs cinder_store_auth_address.`, {
        details: { section: place.name, option: 'cinder_store_auth_address' },
      })
    }
    if (credentials !== undefined) {
      this.#own = this.#client(
        keystoneSession({ authUrl: this.#identityUrl, credentials, trust: this.#trust }),
      )
    }
  }

  /** Where a new image goes. @throws Unauthenticated when it would be the requester's, and nobody asks */
  forWriting(call: StoreCall): BlockStorageClient {
    if (!this.multiTenant && this.#own !== undefined) return this.#own
    return this.#ofRequester(call)
  }

  /**
   * Where an image is: with the store's own credentials, where it has some, because public and shared images lie
   * in other projects than the requester's.
   */
  forReading(call: StoreCall): BlockStorageClient {
    return this.#own ?? this.#ofRequester(call)
  }

  /** The store's own project, where it has one. */
  get own(): BlockStorageClient | undefined {
    return this.#own
  }

  #ofRequester(call: StoreCall): BlockStorageClient {
    const { requester } = call
    if (requester === undefined || this.#identityUrl === undefined) {
      throw new Unauthenticated(
        'The image lies in the project of its owner, and this store has no credentials of its own.',
      )
    }
    const token = requester.token.reveal()
    return this.#client(keystoneTokenSession({ authUrl: this.#identityUrl, token, trust: this.#trust }))
  }

  #client(session: KeystoneSession): BlockStorageClient {
    const { endpointTemplate, region, retries } = this.#settings
    const [type = 'volumev3', name = '', kind = ''] = this.#settings.catalogInfo.split(':')
    const service = {
      type,
      name: name === '' ? undefined : name,
      interface: kind === '' ? undefined : kind.replace(/URL$/, ''),
      region,
    }
    return createBlockStorageClient({
      session,
      retries,
      async endpoint(signal) {
        if (endpointTemplate === undefined) return await session.endpoint(service, signal)
        const projectId = await session.projectId(signal)
        return endpointTemplate.replaceAll(/[%$]\((?:project_id|tenant_id|tenant)\)s/g, projectId)
      },
    })
  }
}

/** @throws Misconfigured for a part of a set */
function credentialsOf(settings: CinderStoreSettings, section: string): KeystoneCredentials | undefined {
  const { user, password, project, userDomain, projectDomain } = settings
  const { applicationCredentialId, applicationCredentialSecret } = settings
  if (applicationCredentialId !== undefined && applicationCredentialSecret !== undefined) {
    return { applicationCredentialId, applicationCredentialSecret }
  }
  if (user !== undefined && password !== undefined && project !== undefined) {
    return {
      username: user,
      password,
      userDomainName: userDomain,
      projectName: project,
      projectDomainName: projectDomain,
    }
  }
  const given = { user, password, project, applicationCredentialId, applicationCredentialSecret }
  if (Object.values(given).every((value) => value === undefined)) return undefined
  throw new Misconfigured(
    `[${section}] has only a part of the store's credentials: give cinder_store_project_name, cinder_store_user_name and cinder_store_password, or an application credential with its secret.`,
    { details: { section, option: 'cinder_store_user_name' } },
  )
}
