import { integer, type OptionSet, optionalText, secret, text } from '../kernel/config/options.ts'
import type { Secret } from '../kernel/secret.ts'

/** `[keystone_authtoken]`, as keystonemiddleware reads it. */
export interface KeystoneAuthtokenSettings {
  readonly authUrl: string
  /** Told to clients that come without a token; `authUrl` by default. */
  readonly publicUri: string | undefined
  readonly username: string
  readonly password: Secret | undefined
  readonly userDomainName: string
  readonly projectName: string
  readonly projectDomainName: string
  readonly cacheSeconds: number
}

export const keystoneAuthtokenOptions: OptionSet<KeystoneAuthtokenSettings> = {
  authUrl: text('auth_url', { help: 'Where Keystone is; empty means the identity service in this process.' }),
  publicUri: optionalText('www_authenticate_uri', {
    help: 'What clients without a valid token are told to ask for one.',
    deprecatedNames: ['auth_uri'],
  }),
  username: text('username', { help: 'Account that validates tokens.', deprecatedNames: ['user_name'] }),
  password: secret('password', { help: 'Its password.' }),
  userDomainName: text('user_domain_name', { default: 'Default', help: "The account's domain." }),
  projectName: text('project_name', {
    default: 'service',
    help: "The account's project.",
    deprecatedNames: ['tenant_name'],
  }),
  projectDomainName: text('project_domain_name', { default: 'Default', help: "That project's domain." }),
  cacheSeconds: integer('token_cache_time', {
    default: 300,
    min: -1,
    help: 'Seconds that a valid token is remembered; -1 remembers none.',
  }),
}
