import type { Instance } from './instance.ts'

/** An answer of one of the APIs; the body is parsed when it is JSON. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  // Tests assert on fields of answers: `unknown` at each step would hide the sentence.
  // biome-ignore lint/suspicious/noExplicitAny: what an outsider sees of JSON
  readonly body: any
}

/** The APIs of an instance over plain HTTP, as one user. */
export interface Api {
  readonly projectId: string
  readonly token: string
  /** @param path `/volumes`, without the version and the project */
  block(method: string, path: string, body?: unknown, microversion?: string): Promise<Answer>
  /** @param path `/images`, without the version */
  image(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  identity(method: string, path: string, body?: unknown): Promise<Answer>
  /** Asks until `isDone` likes the answer. @throws Error that says what was waited for */
  until(what: string, ask: () => Promise<Answer>, isDone: (answer: Answer) => boolean): Promise<Answer>
}

const patienceMs = 90_000

/** @param credentials of another user than `openrc`'s */
export async function apiOf(
  instance: Instance,
  credentials?: { username: string; password: string; project: string },
): Promise<Api> {
  const host = 'http://127.0.0.1'
  const identityUrl = `${host}:${instance.portBase}/v3`
  const environment = await instance.environment()
  const user = credentials ?? {
    username: environment['OS_USERNAME'] ?? '',
    password: environment['OS_PASSWORD'] ?? '',
    project: environment['OS_PROJECT_NAME'] ?? '',
  }
  const domain = { id: 'default' }
  const issued = await ask('POST', `${identityUrl}/auth/tokens`, {
    auth: {
      identity: {
        methods: ['password'],
        password: { user: { name: user.username, password: user.password, domain } },
      },
      scope: { project: { name: user.project, domain } },
    },
  })
  if (issued.status !== 201) throw new Error(`no token: ${issued.status} ${JSON.stringify(issued.body)}`)
  const token = issued.headers.get('x-subject-token') ?? ''
  const projectId: string = issued.body.token.project.id
  const auth = { 'x-auth-token': token }
  return {
    projectId,
    token,
    block: (method, path, body, microversion) =>
      ask(method, `${host}:${instance.portBase + 1}/v3/${projectId}${path}`, body, {
        ...auth,
        ...(microversion === undefined ? {} : { 'openstack-api-version': `volume ${microversion}` }),
      }),
    image: (method, path, body, headers) =>
      ask(method, `${host}:${instance.portBase + 2}/v2${path}`, body, { ...auth, ...headers }),
    identity: (method, path, body) => ask(method, `${identityUrl}${path}`, body, auth),
    async until(what, question, isDone) {
      const deadline = Date.now() + patienceMs
      let last: Answer | undefined
      while (Date.now() < deadline) {
        last = await question()
        if (isDone(last)) return last
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      throw new Error(
        `waited ${patienceMs} ms for ${what}; last: ${last?.status} ${JSON.stringify(last?.body)}`,
      )
    },
  }
}

async function ask(
  method: string,
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const raw = body instanceof Uint8Array || body instanceof ReadableStream
  const answer = await fetch(url, {
    method,
    headers: {
      ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined
      ? {}
      : { body: raw ? (body as ReadableStream | Uint8Array) : JSON.stringify(body), duplex: 'half' }),
  } as RequestInit)
  const text = await answer.text()
  const isJson = answer.headers.get('content-type')?.includes('json') === true
  return {
    status: answer.status,
    headers: answer.headers,
    body: isJson && text !== '' ? JSON.parse(text) : text,
  }
}
