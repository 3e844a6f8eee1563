import type { Readable } from 'node:stream'
import type { Static, TSchema } from 'typebox'
import type { ApiVersion, VersionTraits } from '../../versions.ts'
import type { Privilege, SessionUser } from '../sessions.ts'
import type { ListPage } from './list.ts'

/** What a handler gets to know of a request. */
export interface ApiRequest {
  readonly id: number
  readonly version: ApiVersion
  readonly traits: VersionTraits
  readonly method: string
  /** Without the version and the query. */
  readonly path: string
  /** Canonical path of the tenant whose objects are meant, `/root` or `/root/<name>`. */
  readonly tenant: string
  readonly user: SessionUser
  /** The `Datera-Driver` header: who calls. Never acted upon. */
  readonly driver: string
  readonly sessionKey: string
  readonly query: Readonly<Record<string, string>>
  /** A segment of the path, decoded. */
  param(name: string): string
  /** The body, made to fit. @throws ApiError 422 */
  body<Schema extends TSchema>(schema: Schema): Static<Schema>
  /** The body as it came: JSON value or form; undefined without one. */
  rawBody(): unknown
  /** Body of a multipart upload, not read yet. */
  readonly upload: Readable | undefined
  readonly contentType: string
  /** `force` of the body, or of the query. */
  readonly force: boolean
}

/** An answer in v2.2 shape; `answer.ts` wraps and reshapes it for the version that was asked. */
export interface Answer {
  readonly data: unknown
  /** Path of the object that is answered, by default the request's. */
  readonly path?: string
  /** Tenant the object lives in, by default the request's. */
  readonly tenant?: string
  /** Set for lists. */
  readonly page?: ListPage
  /** Not wrapped in any version: login, logout, schema. */
  readonly bare?: true
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** `/app_instances/:ai`, or ending in `*` for paths of any depth. */
  readonly path: string
  readonly summary: string
  /** First version that has it; without one, all have it. */
  readonly since?: ApiVersion
  /** Served, but not in `/api`: names that are there are no attributes to the Python SDK any more. */
  readonly unlisted?: true
  /** Documents the body in `/api`; the handler validates with the same object. */
  readonly body?: TSchema
  /** What the user's roles have to allow; by default `read` for GET and `write` for the rest. */
  readonly privilege?: Privilege
  /** Needs no session. */
  readonly open?: true
  handle(request: ApiRequest): Answer | Promise<Answer>
}
