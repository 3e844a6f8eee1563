export { EdfNodeStartError } from './errors.ts'
export type { RequestRecord } from './http/server.ts'
export type { Repairs } from './reconcile.ts'
export { type EdfNode, type EdfNodeEvent, type EdfNodeOptions, startEdfNode } from './start.ts'
