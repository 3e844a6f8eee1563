import type { BlockDevice } from '@emberglass/iscsi/device'
import type { Call } from '../kernel/call.ts'
import type { OptionSet } from '../kernel/config/options.ts'

/** A backup that is asked for. Names on the target derive from its id, so that an orphan can be recognised. */
export interface BackupPlan {
  readonly id: string
  readonly name: string | undefined
  readonly description: string | undefined
  readonly volumeId: string
  readonly sizeBytes: number
  /** ISO-8601. */
  readonly createdAt: string
  /** What the user asked for. */
  readonly container: string | undefined
}

/** Where a backup lies. Recorded before the first byte is written, so that a crash leaves nothing unknown. */
export interface Placement {
  /** Shown as `container`. */
  readonly container: string
  /** What the names of the backup's objects begin with; recorded as `service_metadata`. */
  readonly prefix: string
  /** Whether the objects are encrypted. */
  readonly encrypted: boolean
}

/** A backup as it is remembered. */
export interface StoredBackup extends Omit<BackupPlan, 'container'>, Placement {
  /** SHA-256 of its metadata object, hexadecimal; unknown for backups that others have made. */
  readonly metadataSha256: string | undefined
}

/** A range of bytes of a volume. */
export interface ByteExtent {
  readonly offset: number
  readonly length: number
}

/** The bytes to be kept: they do not change while they are read. */
export interface BackupSource {
  readonly device: BlockDevice
  /** All that may differ from the parent's data, in order; absent when nobody can tell. */
  readonly changed?: readonly ByteExtent[] | undefined
}

export interface NewBackup extends StoredBackup {
  /** An incremental backup keeps what differs from this one. */
  readonly parent: StoredBackup | undefined
  /** The volume's own facts, as JSON text, kept beside the data. @see cinder/backup/driver.py BackupMetadataAPI */
  readonly volumeMetadata: string
}

/** A call that tells how far it is. */
export interface BackupCall extends Call {
  /** @param doneBytes of the volume, whether they had to be moved or not; never shrinks */
  readonly onProgress: (doneBytes: number) => void
  /** Called after each object that was written or read. */
  readonly onObject?: () => void
}

/** What is to be remembered of a finished backup. */
export interface BackupResult {
  readonly objectCount: number
  readonly metadataSha256: string | undefined
}

/**
 * A target of backups. Each verb can be repeated: after a crash it is called again with the same ids. Only kernel
 * errors escape; a damaged object is a `BackendError` whose message names the object and its container.
 */
export interface BackupDriver extends AsyncDisposable {
  /** Checks the configuration and that the target answers. @throws Misconfigured, BackendError */
  start(call: Call): Promise<void>
  /**
   * Chooses where a backup will lie. Touches nothing.
   * @param parent of an incremental backup
   * @throws Invalid for a container that cannot be
   */
  place(plan: BackupPlan, parent?: Placement): Placement
  /**
   * Writes a backup. What an earlier attempt has left is replaced.
   * @throws Invalid when it cannot be an increment of its parent: do a full backup
   */
  backup(backup: NewBackup, from: BackupSource, call: BackupCall): Promise<BackupResult>
  /**
   * Writes a backup's bytes to a device that is at least as large; what lies behind them is left alone, unless an
   * option says otherwise. Every digest is checked. On failure the device holds an unknown part of the data.
   * @param chain the full backup first, the one that is wanted last
   * @param options.targetIsZeroed the device reads as zeroes: they need not be written
   * @returns the volume's facts of each level, as `NewBackup.volumeMetadata` had them
   */
  restore(
    chain: readonly StoredBackup[],
    into: BlockDevice,
    options: { readonly targetIsZeroed: boolean },
    call: BackupCall,
  ): Promise<readonly string[]>
  /** Reads a chain back and checks every digest, without writing anything. */
  verify(chain: readonly StoredBackup[], call: BackupCall): Promise<void>
  /** Looks whether the target has such a backup. @throws NotFound */
  find(backup: StoredBackup, call: Call): Promise<void>
  /** Already gone, or never begun: fine. */
  delete(backup: StoredBackup, call: Call): Promise<void>
}

/** Where a driver stands. */
export interface BackupHost {
  /** Our own initiator name, for targets that are reached by iSCSI. */
  readonly initiatorName: string
  /** A directory the driver may keep backups or state in. */
  readonly stateDirectory: string
  readonly availabilityZone: string
}

/** A driver's default export: its name, the names `backup_driver =` may have, its options, its factory. */
export interface BackupDriverDefinition<Settings> {
  /** The short key: `swift`. A secondary driver is chosen by it: `swift_nightly`. */
  readonly name: string
  /** Modules and classes of existing `cinder.conf` files; the first is what `backup_service` shows. */
  readonly aliases: readonly string[]
  /** Read from `[DEFAULT]`. */
  readonly options: OptionSet<Settings>
  /** A promise where the driver is loaded only when it is configured. */
  create(settings: Settings, host: BackupHost): BackupDriver | Promise<BackupDriver>
}

/** A definition of whatever settings, as lists of definitions have it. */
export type AnyBackupDriverDefinition = BackupDriverDefinition<object>

export function defineBackupDriver<Settings>(
  definition: BackupDriverDefinition<Settings>,
): BackupDriverDefinition<Settings> {
  return definition
}
