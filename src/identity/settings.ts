import { integer, type OptionSet, optionalText } from '../kernel/config/options.ts'

/** What an operator can set about identity, under Keystone's own names. */
export interface IdentitySettings {
  /** Seconds that a token is good for. */
  readonly tokenSeconds: number
  /** How clients reach the service, for links; by default what the request's Host header says. */
  readonly publicEndpoint: string | undefined
}

/** `[token]` of keystone.conf. */
export const tokenOptions: OptionSet<Pick<IdentitySettings, 'tokenSeconds'>> = {
  tokenSeconds: integer('expiration', {
    default: 3600,
    min: 1,
    help: 'Seconds that a token is good for.',
  }),
}

/** `[DEFAULT]` of keystone.conf. */
export const identityOptions: OptionSet<Pick<IdentitySettings, 'publicEndpoint'>> = {
  publicEndpoint: optionalText('public_endpoint', {
    help: "The address in links, without the version; the request's Host header by default.",
  }),
}

export const defaultIdentitySettings: IdentitySettings = { tokenSeconds: 3600, publicEndpoint: undefined }
