import {
  AccessNetworkIpPool,
  CreateAccessNetworkIpPool,
  UpdateAccessNetworkIpPool,
} from '../schemas/access-network-ip-pool.ts'
import { AppInstance, CreateAppInstance, UpdateAppInstance } from '../schemas/app-instance.ts'
import { AppTemplate, CreateAppTemplate, UpdateAppTemplate } from '../schemas/app-template.ts'
import { CreateInitiator, Initiator, UpdateInitiator } from '../schemas/initiator.ts'
import { CreateInitiatorGroup, InitiatorGroup, UpdateInitiatorGroup } from '../schemas/initiator-group.ts'
import { CreatePlacementPolicy, PlacementPolicy, UpdatePlacementPolicy } from '../schemas/placement-policy.ts'
import { CreateSnapshot, Snapshot } from '../schemas/snapshot.ts'
import { CreateStorageInstance, StorageInstance, UpdateStorageInstance } from '../schemas/storage-instance.ts'
import { StorageNode, UpdateStorageNode } from '../schemas/storage-node.ts'
import { CreateTenant, Tenant, UpdateTenant } from '../schemas/tenant.ts'
import { CreateVolume, UpdateVolume, Volume } from '../schemas/volume.ts'

/** The one description of the array's collections, for every version of its API. */
export const kinds = {
  appInstance: {
    entity: AppInstance,
    create: CreateAppInstance,
    update: UpdateAppInstance,
    keys: ['name', 'uuid'],
  },
  storageInstance: {
    entity: StorageInstance,
    create: CreateStorageInstance,
    update: UpdateStorageInstance,
    keys: ['name'],
  },
  volume: { entity: Volume, create: CreateVolume, update: UpdateVolume, keys: ['name'] },
  /** Snapshots are never changed: there is nothing to update. */
  snapshot: { entity: Snapshot, create: CreateSnapshot, update: CreateSnapshot, keys: ['uuid'] },
  initiator: { entity: Initiator, create: CreateInitiator, update: UpdateInitiator, keys: ['id'] },
  initiatorGroup: {
    entity: InitiatorGroup,
    create: CreateInitiatorGroup,
    update: UpdateInitiatorGroup,
    keys: ['name'],
  },
  tenant: { entity: Tenant, create: CreateTenant, update: UpdateTenant, keys: ['name'] },
  accessNetworkIpPool: {
    entity: AccessNetworkIpPool,
    create: CreateAccessNetworkIpPool,
    update: UpdateAccessNetworkIpPool,
    keys: ['name'],
  },
  appTemplate: { entity: AppTemplate, create: CreateAppTemplate, update: UpdateAppTemplate, keys: ['name'] },
  placementPolicy: {
    entity: PlacementPolicy,
    create: CreatePlacementPolicy,
    update: UpdatePlacementPolicy,
    keys: ['name'],
  },
  /** Nodes join by themselves: there is nothing to create. */
  storageNode: { entity: StorageNode, create: UpdateStorageNode, update: UpdateStorageNode, keys: ['name'] },
} as const
