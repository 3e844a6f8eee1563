/**
 * The tables of the identity service. Times are ISO-8601 text, flags 0 or 1, `extra` the JSON object of the
 * attributes that a client sent and Keystone does not know, which the API returns again.
 */
export interface IdentityTables {
  identity_domains: DomainRow
  identity_projects: ProjectRow
  identity_users: UserRow
  identity_groups: GroupRow
  identity_group_members: { group_id: string; user_id: string }
  identity_roles: RoleRow
  identity_implied_roles: { prior_role_id: string; implied_role_id: string }
  identity_assignments: AssignmentRow
  identity_regions: RegionRow
  identity_services: ServiceRow
  identity_endpoints: EndpointRow
  identity_application_credentials: ApplicationCredentialRow
  identity_tokens: TokenRow
}

export interface DomainRow {
  id: string
  name: string
  description: string
  enabled: number
  extra: string
}

export interface ProjectRow {
  id: string
  name: string
  domain_id: string
  /** The domain's id for a project at the top. */
  parent_id: string
  description: string
  enabled: number
  /** JSON list of text. */
  tags: string
  extra: string
}

export interface UserRow {
  id: string
  name: string
  domain_id: string
  default_project_id: string | null
  enabled: number
  /** See kernel/crypto/passwords; null for a user who cannot log in with a password. */
  password_hash: string | null
  extra: string
}

export interface GroupRow {
  id: string
  name: string
  domain_id: string
  description: string
}

export interface RoleRow {
  id: string
  name: string
  /** Empty for a global role. */
  domain_id: string
  description: string | null
}

export interface AssignmentRow {
  actor_type: 'user' | 'group'
  actor_id: string
  target_type: 'project' | 'domain' | 'system'
  /** `all` for the system. */
  target_id: string
  role_id: string
  /** 1: not on the target itself but on the projects below it. */
  inherited: number
}

export interface RegionRow {
  id: string
  description: string
  parent_region_id: string | null
}

export interface ServiceRow {
  id: string
  type: string
  name: string
  description: string
  enabled: number
}

export interface EndpointRow {
  id: string
  service_id: string
  region_id: string | null
  interface: 'public' | 'internal' | 'admin'
  url: string
  enabled: number
}

export interface ApplicationCredentialRow {
  id: string
  name: string
  description: string
  user_id: string
  project_id: string
  secret_hash: string
  /** JSON list of role ids. */
  role_ids: string
  unrestricted: number
  expires_at: string | null
}

export interface TokenRow {
  /** See kernel/crypto/tokens: the token itself is nowhere. */
  digest: string
  user_id: string
  /** JSON list of text. */
  methods: string
  /** JSON list: the token's own, then that of the first token of its chain. */
  audit_ids: string
  scope_type: 'unscoped' | 'project' | 'domain' | 'system'
  scope_id: string
  application_credential_id: string | null
  issued_at: string
  expires_at: string
}
