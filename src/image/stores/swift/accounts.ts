import { readFileSync } from 'node:fs'
import { type KeystoneCredentials, keystoneSession, keystoneTokenSession } from '../../../clients/keystone.ts'
import { parseIni } from '../../../kernel/config/ini.ts'
import { Invalid, Misconfigured, messageOf } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { readTrust, type TlsTrust } from '../../../kernel/tls-trust.ts'
import { keystoneSwiftAuth, type SwiftAuth, swiftAuthV1 } from '../../../swift/auth.ts'
import { SwiftClient } from '../../../swift/client.ts'
import type { Requester } from '../../image-store.ts'
import type { SwiftStoreSettings } from './options.ts'

/** How one account is opened: a section of the reference file. */
interface Reference {
  readonly authUrl: string
  readonly authVersion: string
  readonly credentials: KeystoneCredentials
  /** For Swift's own login. */
  readonly user: string
  readonly key: Secret
}

/** The accounts that a store can open: those of the reference file, its options, and the requester's own. */
export class SwiftAccounts implements AsyncDisposable {
  readonly #settings: SwiftStoreSettings
  readonly #trust: TlsTrust
  readonly #references: ReadonlyMap<string, Reference>
  readonly #identityUrl: string | undefined
  readonly #clients = new Map<string, SwiftClient>()

  /** @throws Misconfigured */
  constructor(settings: SwiftStoreSettings, place: { name: string; identityUrl?: string | undefined }) {
    this.#settings = settings
    this.#identityUrl = place.identityUrl ?? settings.authAddress
    this.#trust = readTrust('swift_store_cacert', settings.caFile, settings.insecure)
    this.#references = readReferences(settings, place.name)
    if (!settings.multiTenant && !this.#references.has(settings.defaultReference)) {
      throw new Misconfigured(
        settings.referenceFile === undefined
          ? `[${place.name}] of type swift needs swift_store_config_file, or swift_store_auth_address with swift_store_user and swift_store_key.`
          : `[${place.name}] default_swift_reference: ${settings.referenceFile} has no section [${settings.defaultReference}].`,
        { details: { section: place.name, option: 'default_swift_reference' } },
      )
    }
  }

  /** The account of a section. @throws Invalid when there is no such section */
  ofReference(name: string): SwiftClient {
    const reference = this.#references.get(name)
    if (reference === undefined) {
      throw new Invalid(`The location names the Swift reference '${name}', which is not configured.`)
    }
    return this.#kept(`reference ${name}`, () => this.#auth(reference, this.#settings.endpoint))
  }

  /** The account that credentials in an old location open. */
  ofCredentials(authUrl: string, user: string, key: string): SwiftClient {
    const { authVersion } = this.#settings
    const password = new Secret(key)
    const credentials = passwordOf(user, password, {})
    const reference = { authUrl, authVersion, credentials, user, key: password }
    return this.#kept(`credentials ${authUrl} ${user} ${key}`, () =>
      this.#auth(reference, this.#settings.endpoint),
    )
  }

  /**
   * The requester's account, or another one with the requester's token. To be disposed by the caller.
   * @throws Misconfigured when nobody asks, and the store has no credentials of its own
   */
  ofRequester(requester: Requester | undefined, storageUrl: string | undefined): SwiftClient {
    const trust = this.#trust
    if (requester !== undefined && this.#identityUrl !== undefined) {
      const authUrl = this.#identityUrl
      const session = keystoneTokenSession({ authUrl, token: requester.token.reveal(), trust })
      return new SwiftClient({ auth: this.#keystone(session, storageUrl), trust })
    }
    const own = this.#references.get(this.#settings.defaultReference)
    if (own === undefined) {
      throw new Misconfigured(
        'A multi-tenant Swift store needs credentials of its own for what it does without a requester.',
        { details: { option: 'swift_store_user' } },
      )
    }
    return new SwiftClient({ auth: this.#auth(own, storageUrl), trust })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.values()) await client[Symbol.asyncDispose]()
  }

  #kept(key: string, auth: () => SwiftAuth): SwiftClient {
    const known = this.#clients.get(key)
    if (known !== undefined) return known
    const retries = Math.max(3, this.#settings.retryGetCount)
    const client = new SwiftClient({ auth: auth(), trust: this.#trust, retries })
    this.#clients.set(key, client)
    return client
  }

  #auth(reference: Reference, storageUrl: string | undefined): SwiftAuth {
    const { authUrl, authVersion, credentials, user, key } = reference
    const trust = this.#trust
    const renewBeforeMs = this.#settings.expireSoonSeconds * 1000
    if (authVersion === '1') return swiftAuthV1({ authUrl, user, key, storageUrl, trust, renewBeforeMs })
    return this.#keystone(keystoneSession({ authUrl, credentials, trust, renewBeforeMs }), storageUrl)
  }

  #keystone(session: Parameters<typeof keystoneSwiftAuth>[0]['session'], storageUrl: string | undefined) {
    const { serviceType, endpointType, region } = this.#settings
    const service = { type: serviceType, interface: endpointType.replace('URL', ''), region }
    return keystoneSwiftAuth({ session, storageUrl, service })
  }
}

/** The sections of the reference file, and the options as the default one. @throws Misconfigured */
function readReferences(settings: SwiftStoreSettings, section: string): ReadonlyMap<string, Reference> {
  const references = new Map<string, Reference>()
  const { authAddress, user = '', key, projectName, projectId, authVersion } = settings
  const { applicationCredentialId, applicationCredentialSecret } = settings
  if ((applicationCredentialId === undefined) !== (applicationCredentialSecret === undefined)) {
    throw new Misconfigured(
      `[${section}] needs both or neither of swift_store_application_credential_id and …_secret.`,
      { details: { section, option: 'swift_store_application_credential_id' } },
    )
  }
  if (authAddress !== undefined) {
    const credentials =
      applicationCredentialId !== undefined && applicationCredentialSecret !== undefined
        ? { applicationCredentialId, applicationCredentialSecret }
        : key === undefined || user === ''
          ? undefined
          : passwordOf(user, key, { project_name: projectName, project_id: projectId })
    if (credentials !== undefined) {
      const reference = { authUrl: authAddress, authVersion, credentials, user, key: key ?? new Secret('') }
      references.set(settings.defaultReference, reference)
    }
  }
  if (settings.referenceFile === undefined) return references
  for (const [name, values] of sectionsOf(settings.referenceFile)) {
    references.set(name, referenceOf(settings.referenceFile, name, values, authVersion))
  }
  return references
}

function sectionsOf(path: string): ReadonlyMap<string, Readonly<Record<string, string>>> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new Misconfigured(`swift_store_config_file: ${path} cannot be read: ${messageOf(cause)}.`, {
      details: { option: 'swift_store_config_file' },
      cause,
    })
  }
  const { entries, problems } = parseIni(text, path)
  const [problem] = problems
  if (problem !== undefined) {
    throw new Misconfigured(`swift_store_config_file: ${path}:${problem.line}: ${problem.message}`)
  }
  const sections = new Map<string, Record<string, string>>()
  for (const { section, name, value } of entries) {
    const values = sections.get(section) ?? {}
    values[name] = value
    sections.set(section, values)
  }
  return sections
}

function referenceOf(
  path: string,
  name: string,
  values: Readonly<Record<string, string>>,
  defaultVersion: string,
): Reference {
  const wrong = (why: string) =>
    new Misconfigured(`swift_store_config_file: ${path}, section [${name}] ${why}.`, {
      details: { option: 'swift_store_config_file', section: name },
    })
  const authUrl = values['auth_address']
  const authVersion = values['auth_version'] ?? defaultVersion
  const { user = '', key = '' } = values
  const id = values['application_credential_id']
  const secret = values['application_credential_secret']
  if (authUrl === undefined) throw wrong('has no auth_address')
  if (authVersion !== '1' && authVersion !== '3') throw wrong(`has auth_version ${authVersion}: 3 or 1 work`)
  if (id !== undefined && secret !== undefined) {
    const credentials = { applicationCredentialId: id, applicationCredentialSecret: new Secret(secret) }
    return { authUrl, authVersion, credentials, user, key: new Secret(key) }
  }
  if (user === '' || key === '') throw wrong('has neither user and key nor an application credential')
  const password = new Secret(key)
  return { authUrl, authVersion, credentials: passwordOf(user, password, values), user, key: password }
}

/** @param user `project:user` */
function passwordOf(
  user: string,
  password: Secret,
  values: Readonly<Record<string, string | undefined>>,
): KeystoneCredentials {
  const colon = user.indexOf(':')
  return {
    username: user.slice(colon + 1),
    password,
    userDomainName: values['user_domain_name'] ?? '',
    userDomainId:
      values['user_domain_name'] === undefined ? (values['user_domain_id'] ?? 'default') : undefined,
    projectName: values['project_name'] ?? user.slice(0, Math.max(0, colon)),
    projectId: values['project_id'],
    projectDomainName: values['project_domain_name'] ?? '',
    projectDomainId:
      values['project_domain_name'] === undefined ? (values['project_domain_id'] ?? 'default') : undefined,
  }
}
