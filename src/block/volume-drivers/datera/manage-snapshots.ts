import { type OnlyVolume, onlyVolume, type Snapshot } from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import { Conflict } from '../../../kernel/errors.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  Created,
  Known,
  ManageableSnapshot,
  ManageReference,
} from '../../volume-driver.ts'
import { requireVolume } from './lookup.ts'
import { listManageable } from './manage.ts'
import { invalid } from './manage-reference.ts'
import type { Operation } from './operation.ts'

/** The array's name of a snapshot: seconds and nanoseconds. */
const timePattern = /^\d{10,}\.\d+$/

/** The snapshots of everything that may be managed, or is. */
export async function listManageableSnapshots(
  operation: Operation,
  known: Known,
): Promise<readonly ManageableSnapshot[]> {
  const listed = await listManageable(operation, known)
  return listed.flatMap(({ appInstance, manageable: parent }) => {
    const volumes = appInstance.storage_instances.flatMap((each) => each.volumes)
    return volumes.flatMap(({ size, snapshots }) =>
      (snapshots ?? []).map((snapshot) => {
        const managedAs = knownAs(snapshot, known)
        const isParentKnown = parent.safeToManage || parent.reasonNotSafe === 'already managed'
        const reasonNotSafe =
          managedAs !== undefined
            ? 'already managed by Cinder'
            : isParentKnown
              ? undefined
              : 'parent volume not safe to manage'
        return {
          reference: { 'source-name': snapshot.utc_ts },
          sourceReference: parent.reference,
          sizeBytes: Math.ceil(size) * GiB,
          safeToManage: reasonNotSafe === undefined,
          reasonNotSafe,
          managedAs,
          extraInfo: undefined,
        }
      }),
    )
  })
}

/** @returns bytes: those of the volume */
export async function manageableSnapshotSize(
  operation: Operation,
  volume: BackendVolume,
  reference: ManageReference,
): Promise<number> {
  const found = await requireSnapshot(operation, volume, reference)
  return Math.ceil(found.volume.size) * GiB
}

/** Nothing changes on the array: that the snapshot is ours is only remembered here. */
export async function manageSnapshot(
  operation: Operation,
  wanted: Omit<BackendSnapshot, 'providerLocation'>,
  reference: ManageReference,
  known: Known,
): Promise<Created> {
  const { snapshot } = await requireSnapshot(operation, wanted.volume, reference)
  const id = knownAs(snapshot, known)
  if (id !== undefined && id !== wanted.id) {
    throw new Conflict(`Snapshot ${snapshot.utc_ts} is managed already, as snapshot ${id}.`, {
      details: { reference, snapshotId: id },
    })
  }
  return { providerLocation: snapshot.utc_ts }
}

function knownAs({ utc_ts, uuid }: Snapshot, known: Known): string | undefined {
  return known.snapshots.find(({ id, providerLocation }) => id === uuid || providerLocation === utc_ts)?.id
}

async function requireSnapshot(
  operation: Operation,
  volume: BackendVolume,
  reference: ManageReference,
): Promise<OnlyVolume & { readonly snapshot: Snapshot }> {
  const time = reference['source-name']
  if (time === undefined || !timePattern.test(time)) {
    throw invalid(reference, "expected source-name to be a snapshot's time, seconds.nanoseconds")
  }
  const { scope, appInstance } = await requireVolume(operation, volume)
  const only = onlyVolume(appInstance)
  const snapshot = await scope.snapshots(only.volume).find(time, operation.edf)
  if (snapshot === undefined) throw invalid(reference, `volume ${volume.id} has no such snapshot`)
  return { ...only, snapshot }
}
