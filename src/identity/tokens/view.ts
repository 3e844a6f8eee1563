import type { CatalogEntry } from '../catalog/view.ts'
import type { TokenDetails } from './details.ts'

/** @see keystone/common/render_token.py */
export function tokenView(details: TokenDetails, catalog: readonly CatalogEntry[] | undefined) {
  const { scope, applicationCredential } = details
  return {
    token: {
      methods: details.methods,
      user: {
        domain: details.user.domain,
        id: details.user.id,
        name: details.user.name,
        password_expires_at: null,
      },
      audit_ids: details.auditIds,
      expires_at: details.expiresAt,
      issued_at: details.issuedAt,
      ...(scope.kind === 'project' && {
        project: { domain: scope.project.domain, id: scope.project.id, name: scope.project.name },
        is_domain: false,
      }),
      ...(scope.kind === 'domain' && { domain: scope.domain }),
      ...(scope.kind === 'system' && { system: { all: true } }),
      ...(scope.kind !== 'unscoped' && { roles: details.roles }),
      ...(scope.kind !== 'unscoped' && catalog !== undefined && { catalog }),
      ...(applicationCredential !== undefined && {
        application_credential: {
          id: applicationCredential.id,
          name: applicationCredential.name,
          restricted: applicationCredential.restricted,
        },
      }),
    },
  }
}
