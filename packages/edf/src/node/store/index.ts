export { ExportedDevice } from '../data-plane/exported-device.ts'
export {
  CorruptStoreError,
  EntryExistsError,
  EntryNotFoundError,
  NoSpaceError,
  StoreLockedError,
  ThinStoreError,
} from './errors.ts'
export type { Usage } from './space.ts'
export { type StoredEntry, ThinStore, type ThinStoreOptions } from './thin-store.ts'
