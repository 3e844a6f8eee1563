import type { AlertLog } from './alert-log.ts'
import type { TargetExports } from './data-plane/exports.ts'
import type { StoreUsage } from './data-plane/store-usage.ts'
import type { Database } from './database/database.ts'
import type { EventLog } from './event-log.ts'
import type { LdapServer } from './ldap-directory.ts'
import type { KeyedLocks } from './locks.ts'
import type { Meters } from './metering/meters.ts'
import type { VerifiedPasswords } from './password.ts'
import type { Rebuilds } from './replicas/rebuilds.ts'
import type { ReplicatedStore } from './replicas/replicated-store.ts'
import type { Scrubber } from './replicas/scrubber.ts'
import type { Sessions } from './sessions.ts'
import type { SnapshotClock } from './snapshot-clock.ts'
import type { UnfinishedRemovals } from './unfinished.ts'

/** Who this system says it is; made at first start and kept. */
export interface SystemIdentity {
  readonly systemUuid: string
  readonly nodeUuid: string
}

/** An address that serves iSCSI. */
export interface Portal {
  readonly host: string
  readonly port: number
}

/** What the resources work with: the node's parts, joined once at start. */
export interface NodeContext {
  readonly database: Database
  readonly store: ReplicatedStore
  readonly rebuilds: Rebuilds
  readonly scrubber: Scrubber
  readonly usage: StoreUsage
  readonly exports: TargetExports
  readonly meters: Meters
  readonly sessions: Sessions
  readonly passwords: VerifiedPasswords
  /** Directories whose users may log in, by name. */
  readonly ldapServers: ReadonlyMap<string, LdapServer>
  readonly events: EventLog
  readonly alerts: AlertLog
  /** Serialises what changes an app instance, by its id. */
  readonly locks: KeyedLocks
  readonly unfinished: UnfinishedRemovals
  readonly snapshotClock: SnapshotClock
  readonly identity: SystemIdentity
  /** `sw_version`, four numbers. */
  readonly productVersion: string
  readonly startedAt: Date
  /** At least two; they are the same address where the machine has only one. */
  readonly portals: readonly Portal[]
  readonly managementAddress: string
}
