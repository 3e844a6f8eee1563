import { type ErrorName, errorCodes, invalidSessionMessage } from '../schemas/error.ts'

/** An answer that is not 200. What clients read of it is listed in the EDF API specification, section 1.11.3. */
export class ApiError extends Error {
  override readonly name: ErrorName
  readonly http: number
  readonly code: number
  /** One line per attribute that was refused. */
  readonly errors: readonly string[]

  constructor(
    name: ErrorName,
    http: number,
    code: number,
    message: string,
    errors: readonly string[] = [],
    cause?: unknown,
  ) {
    super(message, cause === undefined ? {} : { cause })
    this.name = name
    this.http = http
    this.code = code
    this.errors = errors
  }
}

/** The text has to contain "not exist": drivers look for it. */
export const notFound = (path: string) =>
  new ApiError('NotFoundError', 404, errorCodes.notFound, `Resource ${path} does not exist`)
export const unknownRoute = (path: string) =>
  new ApiError('InvalidRouteError', 404, errorCodes.notFound, `Route ${path} does not exist`)
export const conflict = (message: string) => new ApiError('ConflictError', 409, errorCodes.conflict, message)
export const invalidRequest = (message: string, code: number = errorCodes.invalidRequest) =>
  new ApiError('InvalidRequestError', 400, code, message)
export const methodNotAllowed = (method: string, path: string) =>
  new ApiError('InvalidRequestError', 405, errorCodes.invalidRequest, `${method} is not supported on ${path}`)
export const validationFailed = (message: string, errors: readonly string[] = [message]) =>
  new ApiError('ValidationFailedError', 422, errorCodes.validation, message, errors)
export const authFailed = () =>
  new ApiError('AuthFailedError', 401, errorCodes.authentication, 'The login name or password is not correct')
export const invalidSession = () =>
  new ApiError('InvalidSessionKeyError', 401, errorCodes.authentication, invalidSessionMessage)
export const notPermitted = (message: string) =>
  new ApiError('PermissionDeniedError', 403, errorCodes.permission, message)
export const notConnected = (message: string) =>
  new ApiError('NotConnectedError', 503, errorCodes.notConnected, message)

/**
 * The node cannot start. One line, and a code that stays: `EADDRINUSE`, `EACCES` and so on from the system, or
 * `EDIRLOCKED` (another node uses the directory), `EDIRDAMAGED` (its metadata cannot be read), `EINVAL`.
 */
export class EdfNodeStartError extends Error {
  override readonly name = 'EdfNodeStartError'
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause })
    this.code = code
  }
}

/** The system's code of an error (`ENOENT`), if it has one. */
export function errorCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return undefined
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
