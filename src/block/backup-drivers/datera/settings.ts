import { type EdfClientOptions, parseTenant, tenantOf } from '@emberglass/edf/client'
import { readPemFile } from '../../../datera/pem-file.ts'
import { Misconfigured, messageOf } from '../../../kernel/errors.ts'
import type { DateraBackupSettings } from './options.ts'

/** What we call ourselves in the `Datera-Driver` header. */
const driver = 'OpenStack-Backup-0.1.0'

/** @throws Misconfigured that names every option that is missing, or the one that is wrong */
export function checkSettings(settings: DateraBackupSettings): void {
  const missing = [
    ...(settings.host === '' ? ['backup_datera_san_ip'] : []),
    ...(settings.login === '' ? ['backup_datera_san_login'] : []),
    ...(settings.password === undefined ? ['backup_datera_san_password'] : []),
  ]
  if (missing.length > 0) throw new Misconfigured(`The datera backup driver needs ${missing.join(', ')}.`)
  if (settings.clientKey !== undefined && settings.clientCertificate === undefined) {
    throw new Misconfigured('backup_driver_client_cert_key: a key needs backup_driver_client_cert, too.')
  }
  tenantFor(settings)
}

/** The tenant of the containers; undefined for no tenancy. @throws Misconfigured */
export function tenantFor({ tenant }: DateraBackupSettings): string | undefined {
  const wrong = (why: string, cause?: unknown) =>
    new Misconfigured(`backup_datera_tenant_id: ${why}.`, { cause })
  try {
    const rule = parseTenant(tenant)
    if (rule.kind !== 'map') return tenantOf(rule, '')
  } catch (cause) {
    throw wrong(messageOf(cause), cause)
  }
  throw wrong(`'Map' is for volumes only`)
}

/** How to connect. Reads certificate files. @throws Misconfigured when one cannot be read */
export async function clientOptions(settings: DateraBackupSettings): Promise<EdfClientOptions> {
  const { apiPort, useSsl } = settings
  const plain = apiPort !== 7718 && (useSsl === false || (useSsl === undefined && apiPort === 7717))
  const ca = await readPemFile('backup_datera_ssl_ca', settings.certificateAuthority)
  const cert = await readPemFile('backup_driver_client_cert', settings.clientCertificate)
  const key = await readPemFile('backup_driver_client_cert_key', settings.clientKey)
  const tls = {
    verify: ca !== undefined,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
  return {
    host: settings.host,
    port: apiPort,
    tls: plain ? false : tls,
    login: settings.login,
    password: settings.password?.reveal() ?? '',
    ldapServer: settings.ldapServer,
    driver,
    retry: { budgetMs: settings.retryForSeconds * 1000, intervalMs: settings.retryEverySeconds * 1000 },
  }
}
