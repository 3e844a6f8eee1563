import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { request } from 'undici'
import { BackendError, NotFound, Unauthenticated } from '../kernel/errors.ts'

/** An answer of one of the APIs. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Readable
}

type Readable = AsyncIterable<Uint8Array> & {
  json(): Promise<unknown>
  text(): Promise<string>
  dump(): Promise<unknown>
}

/** The services of a cloud, as a user with a password sees them: only what the public APIs offer. */
export class Cloud {
  readonly #token: string
  readonly #endpoints: ReadonlyMap<string, string>

  private constructor(token: string, endpoints: ReadonlyMap<string, string>) {
    this.#token = token
    this.#endpoints = endpoints
  }

  /**
   * Logs in with the `openrc` of a state directory.
   * @throws NotFound when there is none; BackendError when nothing answers; Unauthenticated
   */
  static async login(stateDirectory: string): Promise<Cloud> {
    const path = join(stateDirectory, 'openrc')
    let text: string
    try {
      text = await readFile(path, 'utf8')
    } catch (error) {
      throw new NotFound(`There is no ${path}: is an instance running with that --state-dir?`, {
        cause: error,
      })
    }
    const variables = new Map(
      [...text.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]),
    )
    const authUrl = variables.get('OS_AUTH_URL')
    const domain = { name: variables.get('OS_USER_DOMAIN_NAME') }
    let answer: Answer
    try {
      answer = await send('POST', `${authUrl}/auth/tokens`, {
        json: {
          auth: {
            identity: {
              methods: ['password'],
              password: {
                user: { name: variables.get('OS_USERNAME'), password: variables.get('OS_PASSWORD'), domain },
              },
            },
            scope: { project: { name: variables.get('OS_PROJECT_NAME'), domain } },
          },
        },
      })
    } catch (error) {
      throw new BackendError(`Nothing answers at ${authUrl}: start it with npm start.`, {
        left: 'nothing',
        cause: error,
      })
    }
    if (answer.status !== 201) throw new Unauthenticated(`${authUrl} refuses the password of ${path}.`)
    const { token } = (await answer.body.json()) as {
      token: { catalog: { type: string; endpoints: { interface: string; url: string }[] }[] }
    }
    const endpoints = new Map(
      token.catalog.map((service) => [
        service.type,
        service.endpoints.find((endpoint) => endpoint.interface === 'public')?.url ?? '',
      ]),
    )
    return new Cloud(String(answer.headers['x-subject-token']), endpoints)
  }

  /** @param path below the project's URL, `/volumes` @returns the parsed body @throws BackendError */
  async block<Body>(method: string, path: string, json?: unknown): Promise<Body> {
    const headers = { 'openstack-api-version': 'volume 3.44' }
    return this.#parsed<Body>(method, `${this.#endpoints.get('volumev3')}${path}`, { json, headers })
  }

  /** @param path below the endpoint, `/v2/images` @returns the parsed body @throws BackendError */
  async image<Body>(method: string, path: string, json?: unknown): Promise<Body> {
    return this.#parsed<Body>(method, `${this.#endpoints.get('image')}${path}`, { json })
  }

  /** @throws BackendError unless the data was taken whole */
  async upload(imageId: string, data: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<void> {
    await this.#parsed('PUT', `${this.#endpoints.get('image')}/v2/images/${imageId}/file`, {
      data,
      sizeBytes,
    })
  }

  /** @throws BackendError when there is no data */
  async download(imageId: string): Promise<AsyncIterable<Uint8Array>> {
    const url = `${this.#endpoints.get('image')}/v2/images/${imageId}/file`
    const answer = await send('GET', url, { headers: { 'x-auth-token': this.#token } })
    if (answer.status !== 200) throw await failure('GET', url, answer)
    return answer.body
  }

  async #parsed<Body>(method: string, url: string, content: Content): Promise<Body> {
    const headers = { 'x-auth-token': this.#token, ...content.headers }
    const answer = await send(method, url, { ...content, headers })
    if (answer.status >= 400) throw await failure(method, url, answer)
    const text = await answer.body.text()
    return (text === '' ? undefined : JSON.parse(text)) as Body
  }
}

interface Content {
  readonly json?: unknown
  readonly data?: AsyncIterable<Uint8Array>
  readonly sizeBytes?: number
  readonly headers?: Readonly<Record<string, string>>
}

async function send(method: string, url: string, content: Content): Promise<Answer> {
  const { Readable: NodeReadable } = await import('node:stream')
  const answer = await request(url, {
    method: method as 'GET',
    headers: {
      ...(content.json === undefined ? {} : { 'content-type': 'application/json' }),
      ...(content.data === undefined ? {} : { 'content-type': 'application/octet-stream' }),
      ...(content.sizeBytes === undefined ? {} : { 'content-length': String(content.sizeBytes) }),
      ...content.headers,
    },
    body:
      content.data === undefined
        ? content.json === undefined
          ? null
          : JSON.stringify(content.json)
        : NodeReadable.from(content.data, { objectMode: false }),
    headersTimeout: 600_000, // an upload is answered when the data is durable
    bodyTimeout: 60_000,
  })
  return { status: answer.statusCode, headers: answer.headers, body: answer.body }
}

async function failure(method: string, url: string, answer: Answer): Promise<BackendError> {
  const text = (await answer.body.text()).slice(0, 500)
  return new BackendError(`${method} ${url} answered ${answer.status}: ${text}`, { left: 'unknown' })
}
