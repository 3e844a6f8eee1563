import type { Identity } from '../kernel/http/request-context.ts'
import { PolicyRules, type PolicyTarget } from '../kernel/policy/rules.ts'

const owner = 'project_id:%(project_id)s'
const ofOwner = `role:admin or (role:member and ${owner})`
const admin = 'role:admin'

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
} as const satisfies Readonly<Record<string, string>>

export type PolicyRule = keyof typeof defaultPolicy

/** Answers whether a caller may do something. */
export class Policy {
  readonly #rules: PolicyRules

  /** @param overrides rules of a policy file; they win over the defaults */
  constructor(overrides: Readonly<Record<string, string>> = {}) {
    this.#rules = new PolicyRules({ ...defaultPolicy, ...overrides })
  }

  allows(rule: PolicyRule, identity: Identity, target: PolicyTarget = {}): boolean {
    // all rules have the scope type project: a token for the whole system is refused
    if (identity.systemScope && rule !== 'context_is_admin') return false
    return this.#rules.check(rule, identity, target)
  }
}
