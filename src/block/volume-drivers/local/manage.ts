import type { StoredEntry, ThinStore } from '@emberglass/edf/store'
import { Conflict, Invalid } from '../../../kernel/errors.ts'
import type { Created, Known, Manageable, ManageableSnapshot, ManageReference } from '../../volume-driver.ts'

type Kind = StoredEntry['kind']
type KnownEntry = { readonly id: string; readonly providerLocation: string | undefined }

/** The name in the store of what the service knows by an id: remembered, because it may have been managed. */
export function keyOf({ id, providerLocation }: KnownEntry): string {
  return providerLocation ?? id
}

/** Volumes and snapshots are named by what they are called in the store. */
const referenceOf = (key: string): ManageReference => ({ 'source-name': key })

/** @throws Invalid when the reference names none */
export function requireEntry(store: ThinStore, kind: Kind, reference: ManageReference): StoredEntry {
  const name = reference['source-name'] ?? reference['source-id']
  const found = store.list().find((entry) => entry.kind === kind && entry.id === name)
  if (found === undefined) {
    throw new Invalid(`Reference ${JSON.stringify(reference)} names no ${kind} of this store.`)
  }
  return found
}

/** Nothing is renamed: the store's name is what is remembered. @throws Conflict when it is somebody else's */
export function claim(entry: StoredEntry, wantedId: string, known: readonly KnownEntry[]): Created {
  const owner = known.find((each) => keyOf(each) === entry.id)
  if (owner !== undefined && owner.id !== wantedId) {
    throw new Conflict(`${entry.id} is managed already, as ${entry.kind} ${owner.id}.`)
  }
  return { providerLocation: entry.id }
}

export function listVolumes(
  store: ThinStore,
  known: Known,
  isAttached: (key: string) => boolean,
): readonly Manageable[] {
  return store
    .list()
    .filter(({ kind }) => kind === 'volume')
    .map((entry) => describe(entry, known.volumes, isAttached(entry.id)))
}

export function listSnapshots(store: ThinStore, known: Known): readonly ManageableSnapshot[] {
  return store
    .list()
    .filter(({ kind }) => kind === 'snapshot')
    .map((entry) => ({
      ...describe(entry, known.snapshots, false),
      sourceReference: referenceOf(entry.parent ?? ''),
    }))
}

function describe(entry: StoredEntry, known: readonly KnownEntry[], attached: boolean): Manageable {
  const managedAs = known.find((each) => keyOf(each) === entry.id)?.id
  const reasonNotSafe = managedAs !== undefined ? 'already managed' : attached ? 'in use' : undefined
  return {
    reference: referenceOf(entry.id),
    sizeBytes: entry.sizeBytes,
    safeToManage: reasonNotSafe === undefined,
    reasonNotSafe,
    managedAs,
    extraInfo: undefined,
  }
}
