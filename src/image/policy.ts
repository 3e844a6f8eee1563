import type { Identity } from '../kernel/http/request-context.ts'
import type { PolicyOverrides } from '../kernel/policy/files.ts'
import { PolicyRules, type PolicyTarget } from '../kernel/policy/rules.ts'

const owner = 'project_id:%(project_id)s'
const ofOwner = `role:admin or (role:member and ${owner})`
const admin = 'role:admin'
/** Of metadata definitions: the target's owner, or everybody when the namespace is public. */
const seesNamespace = `role:admin or (role:reader and (${owner} or 'public':%(visibility)s))`

/**
 * Who may do what, in oslo.policy's language; a policy file overrides rules by name. Targets: `project_id` is
 * the image's owner, `member_id` the caller's project when it is a member of the image, or the membership's.
 * @see image-api specification 7.8
 */
export const defaultPolicy = {
  context_is_admin: admin,
  service_api: 'role:service or role:admin',
  default: admin,

  get_images: 'role:admin or role:reader',
  get_image: `role:admin or (role:reader and (${owner} or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))`,
  add_image: ofOwner,
  modify_image: ofOwner,
  delete_image: ofOwner,
  upload_image: ofOwner,
  publicize_image: admin,
  communitize_image: ofOwner,
  deactivate: ofOwner,
  reactivate: ofOwner,
  download_image: `role:admin or (role:member and (${owner} or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))`,
  download_from_store: `role:admin or (role:member and (${owner} or project_id:%(member_id)s or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))`,

  get_image_location: `role:admin or (role:reader and ${owner})`,
  set_image_location: ofOwner,
  delete_image_location: admin,
  fetch_image_location: 'rule:service_api',
  add_image_location: `role:service or role:admin or (role:member and ${owner})`,

  add_member: ofOwner,
  delete_member: ofOwner,
  get_members: `role:admin or (role:reader and (${owner} or project_id:%(member_id)s))`,
  get_member: `role:admin or (role:reader and (${owner} or project_id:%(member_id)s))`,
  modify_member: 'role:admin or (role:member and project_id:%(member_id)s)',

  stores_info_detail: 'rule:service_api',
  copy_image: admin,

  tasks_api_access: admin,
  get_task: '@',
  get_tasks: '@',
  add_task: '@',

  manage_image_cache: admin,
  cache_list: admin,
  cache_image: admin,
  cache_delete: admin,
  cache_clean: admin,
  cache_prune: admin,
  list_cached_nodes: admin,

  metadef_default: '',
  metadef_admin: admin,
  get_metadef_namespace: seesNamespace,
  get_metadef_namespaces: 'role:admin or role:reader',
  modify_metadef_namespace: 'rule:metadef_admin',
  add_metadef_namespace: 'rule:metadef_admin',
  delete_metadef_namespace: 'rule:metadef_admin',
  get_metadef_object: seesNamespace,
  get_metadef_objects: seesNamespace,
  modify_metadef_object: 'rule:metadef_admin',
  add_metadef_object: 'rule:metadef_admin',
  delete_metadef_object: 'rule:metadef_admin',
  list_metadef_resource_types: seesNamespace,
  get_metadef_resource_type: seesNamespace,
  add_metadef_resource_type_association: 'rule:metadef_admin',
  remove_metadef_resource_type_association: 'rule:metadef_admin',
  get_metadef_property: seesNamespace,
  get_metadef_properties: seesNamespace,
  modify_metadef_property: 'rule:metadef_admin',
  add_metadef_property: 'rule:metadef_admin',
  remove_metadef_property: 'rule:metadef_admin',
  get_metadef_tag: seesNamespace,
  get_metadef_tags: seesNamespace,
  modify_metadef_tag: 'rule:metadef_admin',
  add_metadef_tag: 'rule:metadef_admin',
  add_metadef_tags: 'rule:metadef_admin',
  delete_metadef_tag: 'rule:metadef_admin',
  delete_metadef_tags: 'rule:metadef_admin',
} as const satisfies Readonly<Record<string, string>>

export type PolicyRule = keyof typeof defaultPolicy

/** Answers whether a caller may do something. */
export class Policy {
  #rules: PolicyRules

  readonly #defaults: Readonly<Record<string, string>>

  /**
   * @param overrides rules of policy files; they win over the defaults
   * @param options.older `enforce_new_defaults = false`: the defaults do not ask for the roles reader and member
   */
  constructor(overrides: PolicyOverrides = {}, options: { older?: boolean } = {}) {
    this.#defaults = options.older === true ? withoutPersonas() : defaultPolicy
    this.#rules = new PolicyRules({ ...this.#defaults, ...overrides })
  }

  /** The files have changed. @throws Misconfigured, and then the rules stay as they are */
  replace(overrides: PolicyOverrides): void {
    this.#rules = new PolicyRules({ ...this.#defaults, ...overrides })
  }

  allows(rule: PolicyRule, identity: Identity, target: PolicyTarget = {}): boolean {
    // all rules have the scope type project: a token for the whole system is refused
    if (identity.systemScope && rule !== 'context_is_admin') return false
    return this.#rules.check(rule, identity, target)
  }

  /** A rule that an operator made up, as property protections name them. */
  allowsOperatorRule(rule: string, identity: Identity): boolean {
    return this.#rules.check(rule, identity, {})
  }
}

/** The rules as they were before there were readers: whoever is in a project may do what members may. */
function withoutPersonas(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(defaultPolicy).map(([name, rule]) => [
      name,
      rule.replaceAll(/role:(?:reader|member) and /g, '').replaceAll(/role:(?:reader|member)\b/g, '@'),
    ]),
  )
}
