import { stringify } from 'yaml'
import type { Ports } from './ports.ts'
import type { StateDirectory } from './state-directory.ts'

/** The region that everything is in, as upstream's installers name it. */
export const region = 'RegionOne'

/**
 * Writes what clients of the identity service in this process read: `openrc` for a shell, `clouds.yaml` for
 * openstacksdk and Terraform. Written at every start, because the ports may have changed.
 * @param authUrl with `/v3`
 */
export async function writeCredentialsFiles(state: StateDirectory, authUrl: string): Promise<void> {
  const password = state.secrets.adminPassword.reveal()
  const openrc = {
    OS_AUTH_URL: authUrl,
    OS_IDENTITY_API_VERSION: '3',
    OS_USERNAME: 'admin',
    OS_PASSWORD: password,
    OS_PROJECT_NAME: 'admin',
    OS_USER_DOMAIN_NAME: 'Default',
    OS_PROJECT_DOMAIN_NAME: 'Default',
    OS_REGION_NAME: region,
    OS_VOLUME_API_VERSION: '3',
  }
  const exports = Object.entries(openrc).map(([name, value]) => `export ${name}='${value}'\n`)
  await state.writePrivate('openrc', exports.join(''))

  const clouds = {
    clouds: {
      emberglass: {
        auth: {
          auth_url: authUrl,
          username: 'admin',
          password,
          project_name: 'admin',
          user_domain_name: 'Default',
          project_domain_name: 'Default',
        },
        region_name: region,
        identity_api_version: '3',
        volume_api_version: '3',
      },
    },
  }
  await state.writePrivate('clouds.yaml', stringify(clouds))
}

/** Writes `edf.env`, for programs that talk to the array itself. */
export async function writeArrayCredentials(
  state: StateDirectory,
  host: string,
  ports: Ports,
): Promise<void> {
  const edf = { EDF_HOST: host, EDF_LOGIN: 'admin', EDF_PASSWORD: state.secrets.edfPassword.reveal() }
  await state.writePrivate(
    'edf.env',
    Object.entries({ ...edf, EDF_PORT: String(ports.edfHttps), EDF_HTTP_PORT: String(ports.edfHttp) })
      .map(([name, value]) => `${name}='${value}'\n`)
      .join(''),
  )
}
