import { type Static, type TSchema, Type } from 'typebox'
import { AclPolicy, type AclPolicyInput } from '../schemas/acl-policy.ts'
import { Auth, type AuthInput } from '../schemas/auth.ts'
import { Metadata } from '../schemas/metadata.ts'
import { PerformancePolicy, type PerformancePolicyInput } from '../schemas/performance-policy.ts'
import { StorageCheck } from '../schemas/storage-check.ts'
import { dataOf, expectShape } from './answer.ts'
import { absentIfNotFound, Collection, encodeSegment, type Sender } from './collection.ts'
import { EdfConflict, EdfNotFound } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { kinds } from './kinds.ts'

/** Something that has a path of its own: an entity, or the path itself. */
export type Located = string | { readonly path: string }

const StorageChecks = Type.Array(StorageCheck)
const at = (place: Located): string => (typeof place === 'string' ? place : place.path)

/**
 * The array as one tenant sees it. Every call may throw an `EdfError`, and rejects with the signal's reason when it
 * is aborted.
 */
export class EdfScope {
  /** What the `tenant` header says; absent: no header. */
  readonly tenant: string | undefined
  readonly #sender: Sender
  readonly #metadata: () => { suffix: string; wrapped: boolean }

  constructor(
    tenant: string | undefined,
    sender: Sender,
    /** Where metadata lies, which depends on the product's version. */
    metadata: () => { suffix: string; wrapped: boolean },
  ) {
    this.tenant = tenant
    this.#sender = sender
    this.#metadata = metadata
  }

  get appInstances() {
    return new Collection(kinds.appInstance, '/app_instances', this.#sender)
  }

  get initiators() {
    return new Collection(kinds.initiator, '/initiators', this.#sender)
  }

  get initiatorGroups() {
    return new Collection(kinds.initiatorGroup, '/initiator_groups', this.#sender)
  }

  get accessNetworkIpPools() {
    return new Collection(kinds.accessNetworkIpPool, '/access_network_ip_pools', this.#sender)
  }

  get appTemplates() {
    return new Collection(kinds.appTemplate, '/app_templates', this.#sender)
  }

  /** Product 3.3 and later. */
  get placementPolicies() {
    return new Collection(kinds.placementPolicy, '/placement_policies', this.#sender)
  }

  get storageNodes() {
    return new Collection(kinds.storageNode, '/storage_nodes', this.#sender)
  }

  get tenants() {
    return new Collection(kinds.tenant, '/tenants', this.#sender)
  }

  storageInstances(appInstance: Located) {
    return new Collection(kinds.storageInstance, `${at(appInstance)}/storage_instances`, this.#sender)
  }

  volumes(storageInstance: Located) {
    return new Collection(kinds.volume, `${at(storageInstance)}/volumes`, this.#sender)
  }

  /** Of a volume or of a whole app instance. */
  snapshots(of: Located) {
    return new Collection(kinds.snapshot, `${at(of)}/snapshots`, this.#sender)
  }

  /** Limits of a volume; `undefined` when it has none. */
  async performancePolicy(volume: Located, call: EdfCall): Promise<PerformancePolicy | undefined> {
    return await absentIfNotFound(this.#read(PerformancePolicy, `${at(volume)}/performance_policy`, call))
  }

  /** Sets limits; 0 removes one. In one request, so that there is no moment without limits. */
  async setPerformancePolicy(
    volume: Located,
    limits: PerformancePolicyInput,
    call: EdfCall,
  ): Promise<PerformancePolicy> {
    const path = `${at(volume)}/performance_policy`
    try {
      return await this.#write(PerformancePolicy, path, limits, call)
    } catch (error) {
      if (!(error instanceof EdfNotFound)) throw error
      const readBack = async (conflict: unknown) =>
        conflict instanceof EdfConflict ? await this.#sender.send({ method: 'GET', path }, call) : undefined
      const body = await this.#sender.send({ method: 'POST', path, body: limits, readBack }, call)
      return expectShape(PerformancePolicy, dataOf(body, path), path)
    }
  }

  async aclPolicy(storageInstance: Located, call: EdfCall): Promise<AclPolicy> {
    return await this.#read(AclPolicy, `${at(storageInstance)}/acl_policy`, call)
  }

  /** Each list that is given replaces the stored one. */
  async setAclPolicy(storageInstance: Located, lists: AclPolicyInput, call: EdfCall): Promise<AclPolicy> {
    return await this.#write(AclPolicy, `${at(storageInstance)}/acl_policy`, lists, call)
  }

  /** Adds one initiator to an ACL, others untouched. Already there: fine. @throws EdfNotFound unknown initiator */
  async admit(storageInstance: Located, initiatorId: string, call: EdfCall): Promise<void> {
    try {
      await this.#link(storageInstance, initiatorId, 'add', call)
    } catch (error) {
      if (!(error instanceof EdfConflict)) throw error
    }
  }

  /** Takes one initiator from an ACL, others untouched. Not there, or nothing there: fine. */
  async expel(storageInstance: Located, initiatorId: string, call: EdfCall): Promise<void> {
    await absentIfNotFound(this.#link(storageInstance, initiatorId, 'remove', call))
  }

  async auth(storageInstance: Located, call: EdfCall): Promise<Auth> {
    return await this.#read(Auth, `${at(storageInstance)}/auth`, call)
  }

  async setAuth(storageInstance: Located, auth: AuthInput, call: EdfCall): Promise<Auth> {
    return await this.#write(Auth, `${at(storageInstance)}/auth`, auth, call)
  }

  /** The user's own pairs of an app instance. */
  async metadata(appInstance: Located, call: EdfCall): Promise<Metadata> {
    return await this.#read(Metadata, `${at(appInstance)}/${this.#metadata().suffix}`, call)
  }

  /** Merges pairs into those stored. */
  async addMetadata(appInstance: Located, pairs: Metadata, call: EdfCall): Promise<void> {
    const { suffix, wrapped } = this.#metadata()
    const body = wrapped ? { data: pairs } : pairs
    await this.#sender.send({ method: 'PUT', path: `${at(appInstance)}/${suffix}`, body }, call)
  }

  /** How the check of each data directory is going. The embedded node's own: arrays have none. */
  async storageChecks(storageNode: Located, call: EdfCall): Promise<StorageCheck[]> {
    return await this.#read(StorageChecks, `${at(storageNode)}/checks`, call)
  }

  /** Starts to check all data directories, while the node serves. */
  async startStorageChecks(storageNode: Located, call: EdfCall): Promise<StorageCheck[]> {
    const path = `${at(storageNode)}/checks`
    const body = await this.#sender.send({ method: 'POST', path, body: {} }, call)
    return expectShape(StorageChecks, dataOf(body, path), path)
  }

  async #read<Schema extends TSchema>(schema: Schema, path: string, call: EdfCall): Promise<Static<Schema>> {
    return expectShape(schema, dataOf(await this.#sender.send({ method: 'GET', path }, call), path), path)
  }

  async #write<Schema extends TSchema>(
    schema: Schema,
    path: string,
    body: unknown,
    call: EdfCall,
  ): Promise<Static<Schema>> {
    return expectShape(
      schema,
      dataOf(await this.#sender.send({ method: 'PUT', path, body }, call), path),
      path,
    )
  }

  async #link(
    storageInstance: Located,
    initiatorId: string,
    op: 'add' | 'remove',
    call: EdfCall,
  ): Promise<void> {
    const path = `${at(storageInstance)}/acl_policy/initiators`
    const body = { path: `/initiators/${encodeSegment(initiatorId)}`, op }
    await this.#sender.send({ method: 'PUT', path, body }, call)
  }
}
