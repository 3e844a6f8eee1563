import { Conflict } from '../kernel/errors.ts'

/**
 * The resource is in a state that forbids the request. Unlike other conflicts the Block Storage API answers it
 * with 400, because upstream does.
 */
export class InvalidState extends Conflict {}
