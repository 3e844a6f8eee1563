import { Invalid, NotFound } from '../kernel/errors.ts'
import type { RequestContext } from '../kernel/http/request-context.ts'
import type { Logger } from '../kernel/log.ts'
import type { Links } from './links.ts'
import type { Caller } from './policy.ts'
import type { Validator } from './validation.ts'

/** A request as an operation sees it: who asks, in which microversion, for what. */
export interface BlockRequest extends RequestContext {
  readonly identity: Caller
  /** Of the token; every operation needs one. */
  readonly projectId: string
  readonly isAdmin: boolean
  /** The minor number of the microversion. */
  readonly minor: number
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Parsed JSON; undefined when there was none. Checked only when the operation says what it must look like. */
  readonly body: unknown
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly links: Links
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
  readonly log: Logger
}

/** What an operation answers. */
export interface Answer {
  readonly status: number
  /** Sent as JSON; a string is JSON already. */
  readonly body?: object | string
  readonly headers?: Readonly<Record<string, string>>
}

/** One route. */
export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** After `/v3` or `/v3/{project_id}`. */
  readonly path: string
  /** The first microversion that has it, 0 by default. Below it the URL is not found. */
  readonly since?: number
  run(request: BlockRequest): Promise<Answer>
}

/** A route whose body is checked before anything else happens. */
export function operation<Body>(definition: {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  since?: number
  body: Validator<Body> | ((minor: number) => Validator<Body>)
  run(request: BlockRequest, body: Body): Promise<Answer>
}): Operation {
  const { method, path, since = 0, body, run } = definition
  return {
    method,
    path,
    since,
    async run(request) {
      const checks = typeof body === 'function' ? body(request.minor) : body
      return run(request, checks.check(request.body))
    },
  }
}

/** One entry of a `POST …/action` body. */
export interface Action {
  readonly name: string
  readonly since: number
  run(request: BlockRequest, argument: unknown): Promise<Answer>
}

/**
 * An action: the key in the body and what lies under it.
 * @param definition.body what lies under the key; null too, unless the schema says otherwise
 */
export function action<Body>(definition: {
  name: string
  since?: number
  body: Validator<Body>
  run(request: BlockRequest, body: Body): Promise<Answer>
}): Action {
  const { name, since = 0, body, run } = definition
  return { name, since, run: (request, argument) => run(request, body.check(argument)) }
}

/** The route that dispatches to actions by the one key in the body. */
export function actionRoute(path: string, actions: readonly Action[]): Operation {
  const byName = new Map(actions.map((entry) => [entry.name, entry]))
  return {
    method: 'POST',
    path,
    async run(request) {
      const { body } = request
      if (typeof body !== 'object' || body === null || Array.isArray(body)) {
        throw new Invalid('Malformed request body')
      }
      const keys = Object.keys(body)
      const [name] = keys
      if (name === undefined || keys.length !== 1) throw new Invalid('Malformed request body')
      const found = byName.get(name)
      if (found === undefined || found.since > request.minor) {
        throw new Invalid(`There is no such action: ${name}`)
      }
      return found.run(request, (body as Record<string, unknown>)[name]) // an object: checked above
    },
  }
}

/** A path parameter. @throws NotFound when the route has none of that name, which cannot be */
export function parameter(request: Pick<BlockRequest, 'params'>, name: string): string {
  const value = request.params[name]
  if (value === undefined) throw new NotFound('The resource could not be found.')
  return value
}

/** 202 without a body. */
export const accepted: Answer = { status: 202 }
