export {
  checkEdfNode,
  type NodeCheckOptions,
  type NodeCheckProgress,
  type NodeCheckReport,
} from './check/check-node.ts'
export { EdfNodeStartError } from './errors.ts'
export type { EdfNodeEvent } from './events.ts'
export type { RequestRecord } from './http/server.ts'
export type { LdapServer } from './ldap-directory.ts'
export type { Repairs } from './reconcile.ts'
export type { DataDirectory } from './replicas/medium.ts'
export { type EdfNode, type EdfNodeOptions, startEdfNode } from './start.ts'
