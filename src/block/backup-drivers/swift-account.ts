import { Misconfigured } from '../../kernel/errors.ts'
import { readTrust } from '../../kernel/tls-trust.ts'
import { keystoneSwiftLogin, swiftAuthV1 } from '../../swift/auth.ts'
import { SwiftClient } from '../../swift/client.ts'
import type { SwiftBackupSettings } from './swift-options.ts'

/**
 * The account that keeps the backups: of Swift's own login, or of a project that Keystone knows.
 * @throws Misconfigured that names the option
 */
export function openSwiftAccount(settings: SwiftBackupSettings): SwiftClient {
  const { authUrl, user, key, retryAttempts: retries } = settings
  if (settings.auth === 'per_user') {
    throw new Misconfigured(
      'backup_swift_auth = per_user keeps backups in the accounts of their users, whose tokens are not kept here: use single_user.',
      { details: { option: 'backup_swift_auth' } },
    )
  }
  if (authUrl === '' || user === '' || key === undefined) {
    throw new Misconfigured(
      'The swift backup driver needs backup_swift_auth_url, backup_swift_user and backup_swift_key.',
    )
  }
  const trust = readTrust('backup_swift_ca_cert_file', settings.caFile, settings.insecure)
  if (settings.authVersion === '1') {
    return new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key, trust }), trust, retries })
  }
  const projectName = settings.project ?? settings.tenant
  if (projectName === undefined) {
    throw new Misconfigured('backup_swift_auth_version = 3 needs backup_swift_project.', {
      details: { option: 'backup_swift_project' },
    })
  }
  const { userDomain, projectDomain } = settings
  const auth = keystoneSwiftLogin({
    authUrl,
    credentials: {
      username: user,
      password: key,
      userDomainName: userDomain ?? '',
      userDomainId: userDomain === undefined ? 'default' : undefined,
      projectName,
      projectDomainName: projectDomain ?? '',
      projectDomainId: projectDomain === undefined ? 'default' : undefined,
    },
    service: { ...catalogEntry(settings.catalogInfo), region: settings.region },
    trust,
  })
  return new SwiftClient({ auth, trust, retries })
}

/** `type:name:interfaceURL`; the name is not looked at, as upstream does not. @throws Misconfigured */
function catalogEntry(text: string): { type: string; interface: string } {
  const [type = '', , endpoint = '', ...rest] = text.split(':')
  const found = /^(public|internal|admin)(URL)?$/.exec(endpoint)?.[1]
  if (type !== '' && found !== undefined && rest.length === 0) return { type, interface: found }
  throw new Misconfigured(
    `swift_catalog_info: '${text}' is not <service type>:<service name>:<publicURL, internalURL or adminURL>.`,
    { details: { option: 'swift_catalog_info' } },
  )
}
