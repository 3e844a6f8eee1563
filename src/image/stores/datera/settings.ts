import { type EdfClientOptions, parseTenant, tenantOf } from '@emberglass/edf/client'
import { readPemFile } from '../../../datera/pem-file.ts'
import { Misconfigured, messageOf } from '../../../kernel/errors.ts'
import type { DateraStoreSettings } from './options.ts'

/** What we call ourselves in the `Datera-Driver` header. */
const driver = 'OpenStack-Glance-0.1.0'

/** The settings as the store works with them. */
export interface CheckedSettings {
  /** Absent: no tenant header. */
  readonly tenant: string | undefined
  readonly chap: { readonly username: string; readonly password: string } | undefined
}

/** @throws Misconfigured that names the option */
export function checkSettings(settings: DateraStoreSettings): CheckedSettings {
  const missing = [
    ...(settings.host === '' ? ['datera_san_ip'] : []),
    ...(settings.login === '' ? ['datera_san_login'] : []),
    ...(settings.password === undefined ? ['datera_san_password'] : []),
  ]
  if (missing.length > 0) {
    throw new Misconfigured(`The datera store needs ${missing.join(', ')}.`, { details: { missing } })
  }
  return { tenant: tenantFor(settings), chap: chapFor(settings) }
}

/** How to connect. @throws Misconfigured when a file cannot be read */
export async function clientOptions(settings: DateraStoreSettings): Promise<EdfClientOptions> {
  const plain = settings.useSsl === false || (settings.useSsl === undefined && settings.apiPort === 7717)
  const ca = await readPemFile('datera_ssl_ca', settings.certificateAuthority)
  return {
    host: settings.host,
    port: settings.apiPort,
    tls: plain ? false : { verify: settings.verifyCertificate, ...(ca === undefined ? {} : { ca }) },
    login: settings.login,
    password: settings.password?.reveal() ?? '',
    ldapServer: settings.ldapServer,
    driver,
    retry: { budgetMs: settings.retryForSeconds * 1000, intervalMs: settings.retryEverySeconds * 1000 },
  }
}

function tenantFor(settings: DateraStoreSettings): string | undefined {
  const wrong = (why: string, cause?: unknown) =>
    new Misconfigured(`datera_tenant_id: ${why}.`, { details: { option: 'datera_tenant_id' }, cause })
  try {
    const rule = parseTenant(settings.tenant)
    if (rule.kind !== 'map') return tenantOf(rule, '')
  } catch (cause) {
    throw wrong(messageOf(cause), cause)
  }
  throw wrong(`'Map' is for volumes only: images belong to no single project`)
}

function chapFor(settings: DateraStoreSettings): CheckedSettings['chap'] {
  if (settings.chapUsername === '') return undefined
  const password = settings.chapPassword?.reveal() ?? ''
  if (password.length < 12 || password.length > 16) {
    throw new Misconfigured(`datera_chap_password: expected 12 to 16 characters, not ${password.length}.`)
  }
  return { username: settings.chapUsername, password }
}
