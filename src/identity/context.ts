import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import type { Logger } from '../kernel/log.ts'
import type { IdentityTables } from './db/tables.ts'
import type { IdentitySettings } from './settings.ts'
import type { TokenCache } from './tokens/cache.ts'

/** What every part of the identity service works with. */
export interface IdentityContext {
  readonly db: Kysely<IdentityTables>
  readonly log: Logger
  readonly settings: IdentitySettings
  /** To be cleared after every change that could change what a token means. */
  readonly cache: TokenCache
  now(): Date
}

/** Keystone's ids: a UUID without its dashes. */
export function newId(): string {
  return randomUUID().replaceAll('-', '')
}
