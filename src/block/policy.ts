import { Forbidden } from '../kernel/errors.ts'
import type { Identity } from '../kernel/http/request-context.ts'
import type { PolicyOverrides } from '../kernel/policy/files.ts'
import { isAdmin, PolicyRules } from '../kernel/policy/rules.ts'

const readers = [
  'backup:get',
  'backup:get_all',
  'group:get',
  'group:get_all',
  'group:get_all_group_snapshots',
  'group:get_group_snapshot',
  'limits_extension:used_limits',
  'message:get',
  'message:get_all',
  'volume:get',
  'volume:get_all',
  'volume:get_all_snapshots',
  'volume:get_all_transfers',
  'volume:get_snapshot',
  'volume:get_snapshot_metadata',
  'volume:get_transfer',
  'volume:get_volume_metadata',
  'volume_extension:access_types_extra_specs',
  'volume_extension:extended_snapshot_attributes',
  'volume_extension:quotas:show',
  'volume_extension:type_get',
  'volume_extension:type_get_all',
  'volume_extension:types_extra_specs:index',
  'volume_extension:types_extra_specs:show',
  'volume_extension:volume_encryption_metadata',
  'volume_extension:volume_image_metadata:show',
  'volume_extension:volume_tenant_attribute',
] as const

const members = [
  'backup:create',
  'backup:delete',
  'backup:restore',
  'backup:update',
  'group:create',
  'group:create_group_snapshot',
  'group:delete',
  'group:delete_group_snapshot',
  'group:disable_replication',
  'group:enable_replication',
  'group:failover_replication',
  'group:list_replication_targets',
  'group:update',
  'group:update_group_snapshot',
  'message:delete',
  'snapshot_extension:snapshot_actions:update_snapshot_status',
  'volume:accept_transfer',
  'volume:attachment_complete',
  'volume:attachment_create',
  'volume:attachment_delete',
  'volume:attachment_update',
  'volume:create',
  'volume:create_from_image',
  'volume:create_snapshot',
  'volume:create_transfer',
  'volume:create_volume_metadata',
  'volume:delete',
  'volume:delete_snapshot',
  'volume:delete_snapshot_metadata',
  'volume:delete_transfer',
  'volume:delete_volume_metadata',
  'volume:extend',
  'volume:extend_attached_volume',
  'volume:multiattach',
  'volume:multiattach_bootable_volume',
  'volume:reimage',
  'volume:reimage_reserved',
  'volume:retype',
  'volume:revert_to_snapshot',
  'volume:update',
  'volume:update_readonly_flag',
  'volume:update_snapshot',
  'volume:update_snapshot_metadata',
  'volume:update_volume_metadata',
  'volume_extension:volume_actions:attach',
  'volume_extension:volume_actions:begin_detaching',
  'volume_extension:volume_actions:detach',
  'volume_extension:volume_actions:initialize_connection',
  'volume_extension:volume_actions:reserve',
  'volume_extension:volume_actions:roll_detaching',
  'volume_extension:volume_actions:terminate_connection',
  'volume_extension:volume_actions:unreserve',
  'volume_extension:volume_actions:upload_image',
  'volume_extension:volume_image_metadata:remove',
  'volume_extension:volume_image_metadata:set',
  'volume_extension:volume_type_access',
] as const

const admins = [
  'backup:backup-import',
  'backup:backup_project_attribute',
  'backup:export-import',
  'clusters:get',
  'clusters:get_all',
  'clusters:update',
  'group:access_group_types_specs',
  'group:group_project_attribute',
  'group:group_snapshot_project_attribute',
  'group:group_types:create',
  'group:group_types:delete',
  'group:group_types:update',
  'group:group_types_specs:create',
  'group:group_types_specs:delete',
  'group:group_types_specs:get',
  'group:group_types_specs:get_all',
  'group:group_types_specs:update',
  'group:reset_group_snapshot_status',
  'group:reset_status',
  'scheduler_extension:scheduler_stats:get_pools',
  'snapshot_extension:list_manageable',
  'snapshot_extension:snapshot_manage',
  'snapshot_extension:snapshot_unmanage',
  'volume:failover_host',
  'volume:force_delete',
  'volume:freeze_host',
  'volume:thaw_host',
  'volume:update_volume_admin_metadata',
  'volume_extension:access_types_qos_specs_id',
  'volume_extension:backup_admin_actions:force_delete',
  'volume_extension:backup_admin_actions:reset_status',
  'volume_extension:capabilities',
  'volume_extension:default_get',
  'volume_extension:default_get_all',
  'volume_extension:default_set_or_update',
  'volume_extension:default_unset',
  'volume_extension:hosts',
  'volume_extension:list_manageable',
  'volume_extension:qos_specs_manage:create',
  'volume_extension:qos_specs_manage:delete',
  'volume_extension:qos_specs_manage:get',
  'volume_extension:qos_specs_manage:get_all',
  'volume_extension:qos_specs_manage:update',
  'volume_extension:quota_classes:get',
  'volume_extension:quota_classes:update',
  'volume_extension:quotas:delete',
  'volume_extension:quotas:update',
  'volume_extension:services:index',
  'volume_extension:services:update',
  'volume_extension:snapshot_admin_actions:force_delete',
  'volume_extension:snapshot_admin_actions:reset_status',
  'volume_extension:type_create',
  'volume_extension:type_delete',
  'volume_extension:type_update',
  'volume_extension:types_extra_specs:create',
  'volume_extension:types_extra_specs:delete',
  'volume_extension:types_extra_specs:read_sensitive',
  'volume_extension:types_extra_specs:update',
  'volume_extension:volume_actions:upload_public',
  'volume_extension:volume_admin_actions:extend_volume_completion',
  'volume_extension:volume_admin_actions:force_delete',
  'volume_extension:volume_admin_actions:force_detach',
  'volume_extension:volume_admin_actions:migrate_volume',
  'volume_extension:volume_admin_actions:migrate_volume_completion',
  'volume_extension:volume_admin_actions:reset_status',
  'volume_extension:volume_host_attribute',
  'volume_extension:volume_manage',
  'volume_extension:volume_mig_status_attribute',
  'volume_extension:volume_type_access:addProjectAccess',
  'volume_extension:volume_type_access:get_all_for_type',
  'volume_extension:volume_type_access:removeProjectAccess',
  'volume_extension:volume_type_encryption:create',
  'volume_extension:volume_type_encryption:delete',
  'volume_extension:volume_type_encryption:get',
  'volume_extension:volume_type_encryption:update',
  'volume_extension:volume_unmanage',
  'workers:cleanup',
] as const

/** The name of a rule, as operators know it from Cinder's policy reference. */
export type Rule = (typeof readers)[number] | (typeof members)[number] | (typeof admins)[number]

/** What the rules above are made of; operators may override these too. @see cinder/policies/base.py */
const buildingBlocks: Readonly<Record<string, string>> = {
  context_is_admin: 'role:admin',
  admin_api: 'is_admin:True or (role:admin and is_admin_project:True)',
  admin_or_owner: 'rule:admin_api or project_id:%(project_id)s',
  xena_system_admin_or_project_reader: 'rule:admin_api or (role:reader and project_id:%(project_id)s)',
  xena_system_admin_or_project_member: 'rule:admin_api or (role:member and project_id:%(project_id)s)',
  default: 'rule:admin_or_owner',
}

/** Rules that used to be one: an override of the old name counts for those that have none of their own. */
const successors: Readonly<Record<string, readonly Rule[]>> = {
  'group:group_types_manage': [
    'group:group_types:create',
    'group:group_types:update',
    'group:group_types:delete',
  ],
  'group:group_types_specs': [
    'group:group_types_specs:get',
    'group:group_types_specs:get_all',
    'group:group_types_specs:create',
    'group:group_types_specs:update',
    'group:group_types_specs:delete',
  ],
  'volume_extension:quota_classes': [
    'volume_extension:quota_classes:get',
    'volume_extension:quota_classes:update',
  ],
  'volume_extension:types_manage': [
    'volume_extension:type_create',
    'volume_extension:type_update',
    'volume_extension:type_delete',
  ],
  'volume_extension:volume_image_metadata': [
    'volume_extension:volume_image_metadata:show',
    'volume_extension:volume_image_metadata:set',
    'volume_extension:volume_image_metadata:remove',
  ],
  'volume_extension:volume_type_encryption': [
    'volume_extension:volume_type_encryption:create',
    'volume_extension:volume_type_encryption:get',
    'volume_extension:volume_type_encryption:update',
    'volume_extension:volume_type_encryption:delete',
  ],
}

/**
 * The default rules in oslo.policy's language.
 * @param newDefaults false: every role in a project may also change what is in it (`enforce_new_defaults`)
 * @see block-storage-api specification 7.1
 */
export function defaultRules(newDefaults: boolean): Record<string, string> {
  const or = newDefaults ? '' : ' or rule:admin_or_owner'
  const all = (names: readonly string[], rule: string) => names.map((name) => [name, rule] as const)
  return {
    ...buildingBlocks,
    ...Object.fromEntries([
      ...all(readers, `rule:xena_system_admin_or_project_reader${or}`),
      ...all(members, `rule:xena_system_admin_or_project_member${or}`),
      ...all(admins, 'rule:admin_api'),
    ]),
  }
}

/** Who may do what: the defaults, and what an operator says otherwise. */
export class BlockPolicy {
  readonly #newDefaults: boolean
  #rules: PolicyRules

  constructor(options: { newDefaults: boolean } = { newDefaults: true }) {
    this.#newDefaults = options.newDefaults
    this.#rules = new PolicyRules(defaultRules(this.#newDefaults))
  }

  /** Replaces what was overridden before. @throws Misconfigured for a rule that cannot be read */
  override(overrides: PolicyOverrides): void {
    const renamed: Record<string, string> = {}
    for (const [name, rule] of Object.entries(overrides)) {
      for (const successor of successors[name] ?? []) renamed[successor] = rule
    }
    this.#rules = new PolicyRules({ ...defaultRules(this.#newDefaults), ...renamed, ...overrides })
  }

  /** @param ownerProjectId the owner of the resource; the caller's own project for what has none yet */
  allows(identity: Identity, rule: Rule, ownerProjectId: string | undefined): boolean {
    if (identity.projectId === undefined) return false // scope is enforced: these rules are for project tokens
    return this.#rules.check(rule, identity, { project_id: ownerProjectId })
  }

  isAdmin(identity: Identity): boolean {
    return isAdmin(identity, this.#rules)
  }
}

/** Who asks, with the rules that hold for the request. */
export interface Caller extends Identity {
  readonly policy: BlockPolicy
  /** The last answer for each rule: a list asks the same of a thousand rows of one project. */
  readonly answers: Map<Rule, { readonly owner: string | undefined; readonly allowed: boolean }>
}

export function callerOf(identity: Identity, policy: BlockPolicy): Caller {
  return { ...identity, policy, answers: new Map() }
}

/** Whether the rules let somebody do something to what a project owns. */
export function isAllowed(caller: Caller, rule: Rule, ownerProjectId: string | undefined): boolean {
  const last = caller.answers.get(rule)
  if (last !== undefined && last.owner === ownerProjectId) return last.allowed
  const allowed = caller.policy.allows(caller, rule, ownerProjectId)
  caller.answers.set(rule, { owner: ownerProjectId, allowed })
  return allowed
}

/** @throws Forbidden in upstream's words */
export function authorize(caller: Caller, rule: Rule, ownerProjectId = caller.projectId): void {
  if (!isAllowed(caller, rule, ownerProjectId)) {
    throw new Forbidden(`Policy doesn't allow ${rule} to be performed.`, { details: { rule } })
  }
}
