import { type KeystoneSession, keystoneSession, keystoneTokenValidator } from '../clients/keystone.ts'
import { keystoneAuthtokenOptions } from '../clients/keystone-options.ts'
import { createIdentityService, type IdentityService } from '../identity/service.ts'
import type { Config } from '../kernel/config/config.ts'
import { Misconfigured } from '../kernel/errors.ts'
import type { TokenValidator } from '../kernel/http/request-context.ts'
import { region } from './credentials-files.ts'
import type { StateDirectory } from './state-directory.ts'

/** Who says what a token is worth, and where: the identity service in this process, or a Keystone elsewhere. */
export interface IdentityProvider {
  /** With `/v3`. */
  readonly authUrl: string
  readonly tokens: TokenValidator
  /** The service's own login, for calls to other services. */
  readonly session: KeystoneSession
}

/**
 * The Keystone that a service's configuration names in `[keystone_authtoken]`, as keystonemiddleware reads it.
 * @returns undefined when `auth_url` is not set: the identity service in this process is meant
 * @throws Misconfigured when it is set and the account is incomplete
 */
export function keystoneElsewhere(config: Config): IdentityProvider | undefined {
  const settings = config.read('keystone_authtoken', keystoneAuthtokenOptions)
  const { authUrl, username, password, cacheSeconds } = settings
  if (authUrl === '') return undefined
  if (username === '' || password === undefined) {
    throw new Misconfigured(
      '[keystone_authtoken] auth_url names a Keystone, so username and password are needed: the account that ' +
        'checks tokens there.',
    )
  }
  const { userDomainName, projectName, projectDomainName } = settings
  const credentials = { username, password, userDomainName, projectName, projectDomainName }
  return {
    authUrl: authUrl.replace(/\/+$/, '').replace(/(\/v3)?$/, '/v3'),
    tokens: keystoneTokenValidator({ authUrl, credentials, cacheSeconds }),
    session: keystoneSession({ authUrl, credentials }),
  }
}

/** Starts the identity service of this process, its catalog naming the other services. Not listening yet. */
export async function startIdentityHere(options: {
  database: Parameters<typeof createIdentityService>[0]['database']
  log: Parameters<typeof createIdentityService>[0]['log']
  state: StateDirectory
  /** Of the services, without a path. */
  urls: { readonly identity: string; readonly blockStorage: string; readonly image: string }
}): Promise<IdentityProvider & Pick<IdentityService, 'api' | typeof Symbol.asyncDispose>> {
  const { state, urls } = options
  const authUrl = `${urls.identity}/v3`
  const volumes = `${urls.blockStorage}/v3/$(project_id)s`
  const serviceUser = { name: 'emberglass', password: state.secrets.servicePassword }
  const service = await createIdentityService({
    database: options.database,
    log: options.log,
    bootstrap: {
      adminPassword: state.secrets.adminPassword,
      region,
      serviceUser,
      endpoints: [
        { type: 'identity', name: 'keystone', url: authUrl },
        { type: 'volumev3', name: 'cinderv3', url: volumes },
        { type: 'block-storage', name: 'cinder', url: volumes },
        { type: 'image', name: 'glance', url: urls.image },
      ],
    },
  })
  const credentials = {
    username: serviceUser.name,
    password: serviceUser.password,
    projectName: 'service',
    userDomainName: 'Default',
    projectDomainName: 'Default',
  }
  return {
    authUrl,
    tokens: service.tokens,
    session: keystoneSession({ authUrl, credentials }),
    api: service.api,
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  }
}
