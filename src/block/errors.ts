import { Conflict } from '../kernel/errors.ts'

/**
 * The resource is in a state that forbids the request. Unlike other conflicts the Block Storage API answers it
 * with 400, because upstream does.
 */
export class InvalidState extends Conflict {}

/** No service is there that could do it; answered with 503. */
export class ServiceUnavailable extends Conflict {}
