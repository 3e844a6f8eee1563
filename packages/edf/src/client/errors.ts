/**
 * What can go wrong between us and an array, as classes: match on the class, on `status` or `apiCode`, never on
 * the text. (EDF API specification, section 1.11.)
 */
export interface EdfErrorFacts {
  readonly method?: string
  /** Without version prefix and query. */
  readonly path?: string
  /** HTTP status; absent when there was no answer. */
  readonly status?: number
  /** `name` of the error body: `NotFoundError`… */
  readonly apiName?: string
  /** `code` of the error body. */
  readonly apiCode?: number
  /** Pairs this error with the exchanges that were observed. */
  readonly traceId?: string | undefined
  readonly cause?: unknown
}

/** Base of everything that the client throws, aborts excepted. */
export abstract class EdfError extends Error {
  readonly method: string | undefined
  readonly path: string | undefined
  readonly status: number | undefined
  readonly apiName: string | undefined
  readonly apiCode: number | undefined
  readonly traceId: string | undefined

  constructor(message: string, facts: EdfErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.name = new.target.name
    this.method = facts.method
    this.path = facts.path
    this.status = facts.status
    this.apiName = facts.apiName
    this.apiCode = facts.apiCode
    this.traceId = facts.traceId
  }
}

/** 404: the object does not exist, or not in this tenant. */
export class EdfNotFound extends EdfError {}
/** 409, or 400 with code 15 (a snapshot's uuid): it exists already. */
export class EdfConflict extends EdfError {}
/** 400, 405, 422: the array refuses the request, in this state or always. */
export class EdfInvalid extends EdfError {}
/** 401: the credentials are refused. */
export class EdfAuth extends EdfError {}
/** 403: logged in, but not allowed. */
export class EdfForbidden extends EdfError {}
/** The array cannot be reached, or stayed busy (503) for the whole retry budget. */
export class EdfUnavailable extends EdfError {
  /**
   * `none`: no attempt was carried out. `unknown`: an answer was lost, and the request may have been carried out.
   */
  readonly outcome: 'none' | 'unknown'

  constructor(message: string, facts: EdfErrorFacts & { outcome: 'none' | 'unknown' }) {
    super(message, facts)
    this.outcome = facts.outcome
  }
}
/** The array's certificate or TLS settings are not acceptable; trying again does not help. */
export class EdfTls extends EdfError {}
/** 500 and other answers nobody expects. */
export class EdfFailure extends EdfError {}
/** An answer that is not what the API promises: not JSON, or of another shape. */
export class EdfProtocol extends EdfError {}
/** The array offers no API version that this client speaks. */
export class EdfVersion extends EdfError {
  readonly offered: readonly string[]

  constructor(message: string, offered: readonly string[], facts: EdfErrorFacts = {}) {
    super(message, facts)
    this.offered = offered
  }
}

/** Code of the error body for a snapshot whose uuid is taken. */
const duplicateSnapshot = 15

/** The error for an answer that is not 200. */
export function errorOfAnswer(
  status: number,
  body: unknown,
  request: { method: string; path: string; traceId?: string | undefined },
): EdfError {
  const fields = typeof body === 'object' && body !== null ? body : {}
  const text = (key: string): string | undefined => {
    const value: unknown = Reflect.get(fields, key)
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const code: unknown = Reflect.get(fields, 'code')
  const apiName = text('name')
  const errors: unknown = Reflect.get(fields, 'errors')
  const more = Array.isArray(errors) && errors.length > 0 ? ` (${errors.slice(0, 3).join('; ')})` : ''
  const facts: EdfErrorFacts = {
    method: request.method,
    path: request.path,
    status,
    traceId: request.traceId,
    ...(apiName === undefined ? {} : { apiName }),
    ...(typeof code === 'number' ? { apiCode: code } : {}),
  }
  const said = `${text('message') ?? `status ${status}`}${more}`
  const message = `${request.method} ${request.path}: ${said}`
  if (status === 400 && code === duplicateSnapshot) return new EdfConflict(message, facts)
  switch (status) {
    case 400:
    case 405:
    case 422:
      return new EdfInvalid(message, facts)
    case 401:
      return new EdfAuth(message, facts)
    case 403:
      return new EdfForbidden(message, facts)
    case 404:
      return new EdfNotFound(message, facts)
    case 409:
      return new EdfConflict(message, facts)
    case 503:
      return new EdfUnavailable(message, { ...facts, outcome: 'none' })
    default:
      return new EdfFailure(message, facts)
  }
}
