import {
  type ClientVersion,
  type EdfClientOptions,
  parseTenant,
  type TenantRule,
} from '@emberglass/edf/client'
import { readPemFile } from '../../../datera/pem-file.ts'
import { Invalid, Misconfigured, messageOf } from '../../../kernel/errors.ts'
import type { Logger } from '../../../kernel/log.ts'
import type { DateraSettings } from './options.ts'
import { driverPolicy, type Policy } from './policies.ts'

/** What we call ourselves in the `Datera-Driver` header. */
export const driverVersion = '0.1.0'

/** The settings as the driver works with them, checked. */
export interface CheckedSettings {
  readonly tenant: TenantRule
  /** Of volumes without a type. */
  readonly policy: Policy
  readonly chap: { readonly username: string; readonly password: string } | undefined
}

/** @throws Misconfigured that names the option */
export function checkSettings(settings: DateraSettings, log: Logger): CheckedSettings {
  if (settings.host === '') throw misconfigured('san_ip', 'the address of the array is missing')
  if (settings.login === '') throw misconfigured('san_login', 'the user is missing')
  if (settings.password === undefined) throw misconfigured('san_password', 'the password is missing')
  if (settings.clientKey !== undefined && settings.clientCertificate === undefined) {
    throw misconfigured('driver_client_cert_key', 'a key needs driver_client_cert, too')
  }
  warnOfOldOptions(settings, log)
  return { tenant: tenantRule(settings), policy: defaultPolicy(settings, log), chap: chapOf(settings) }
}

/** How to connect. Reads certificate files. @throws Misconfigured when one cannot be read */
export async function clientOptions(settings: DateraSettings): Promise<EdfClientOptions> {
  const port = portOf(settings)
  const plain = settings.useSsl === false || (settings.useSsl === undefined && port === 7717)
  const ca = await readPemFile('driver_ssl_cert_path', settings.certificateAuthority)
  const cert = await readPemFile('driver_client_cert', settings.clientCertificate)
  const key = await readPemFile('driver_client_cert_key', settings.clientKey)
  const tls = {
    verify: settings.verifyCertificate,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
  const versions = pinnedVersions(settings.apiVersion)
  return {
    host: settings.host,
    ...(port === undefined ? {} : { port }),
    tls: plain ? false : tls,
    login: settings.login,
    password: settings.password?.reveal() ?? '',
    ldapServer: settings.ldapServer,
    driver: `OpenStack-Cinder-${driverVersion}`,
    ...(versions === undefined ? {} : { versions }),
    retry: { budgetMs: settings.retryForSeconds * 1000, intervalMs: settings.retryEverySeconds * 1000 },
    connectTimeoutMs: settings.connectTimeoutSeconds * 1000,
    answerTimeoutMs: settings.answerTimeoutSeconds * 1000,
    concurrency: settings.concurrency,
  }
}

/** `san_api_port`, else a `datera_api_port` that somebody has set; its default says nothing. */
function portOf(settings: DateraSettings): number | undefined {
  if (settings.apiPort !== 0) return settings.apiPort
  const old = Number(settings.oldApiPort)
  return settings.oldApiPort === '7717' || !Number.isInteger(old) || old < 1 ? undefined : old
}

function pinnedVersions(text: string): readonly ClientVersion[] | undefined {
  if (text === '2.1' || text === '2.2') return [text]
  return undefined
}

function tenantRule(settings: DateraSettings): TenantRule {
  try {
    return parseTenant(settings.tenant)
  } catch (cause) {
    throw misconfigured('datera_tenant_id', messageOf(cause), cause)
  }
}

function defaultPolicy(settings: DateraSettings, log: Logger): Policy {
  const legacy: Record<string, string> =
    settings.legacyReplicas > 0 ? { replica_count: String(settings.legacyReplicas) } : {}
  try {
    return driverPolicy({ ...legacy, ...settings.typeDefaults }, settings.singleReplica, (message) =>
      log.warn(message),
    )
  } catch (cause) {
    if (!(cause instanceof Invalid)) throw cause
    throw misconfigured('datera_volume_type_defaults', cause.message, cause)
  }
}

/** What the array accepts as CHAP user and secret. */
const chapUserPattern = /^[A-Za-z_][A-Za-z0-9_.-]{2,63}$/

function chapOf(settings: DateraSettings): CheckedSettings['chap'] {
  if (!settings.useChap) return undefined
  if (!chapUserPattern.test(settings.chapUsername)) {
    throw misconfigured(
      'chap_username',
      "expected 3 to 64 letters, digits, '_', '-', '.', beginning with a letter",
    )
  }
  const password = settings.chapPassword?.reveal() ?? ''
  if (password.length < 12 || password.length > 16) {
    throw misconfigured('chap_password', `expected 12 to 16 characters, not ${password.length}`)
  }
  return { username: settings.chapUsername, password }
}

function warnOfOldOptions(settings: DateraSettings, log: Logger): void {
  const warn = (option: string, message: string) => log.warn({ option }, `${option} ${message}`)
  if (settings.oldApiPort !== '7717') warn('datera_api_port', 'is deprecated, use san_api_port')
  if (settings.apiVersion !== '') {
    const pins = pinnedVersions(settings.apiVersion) !== undefined
    warn('datera_api_version', pins ? 'is deprecated' : 'is deprecated and ignored: the version is found out')
  }
  if (settings.legacyReplicas > 0) {
    warn('datera_num_replicas', 'was removed, use datera_volume_type_defaults = replica_count:N')
  }
  if (settings.legacyAllowAll) warn('datera_acl_allow_all', 'was removed: hosts are always let in one by one')
  if (settings.legacyToken !== undefined)
    warn('datera_api_token', 'was removed, use san_login and san_password')
  if (settings.useSsl !== false && !settings.verifyCertificate) {
    warn('driver_ssl_cert_verify', "is off: the array's certificate is not checked")
  }
}

function misconfigured(option: string, message: string, cause?: unknown): Misconfigured {
  return new Misconfigured(`${option}: ${message}.`, { details: { option }, cause })
}
