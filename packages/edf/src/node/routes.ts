import type { NodeContext } from './context.ts'
import type { Route } from './http/route.ts'
import { aclRoutes } from './resources/acl-policy.ts'
import { administrationRoutes } from './resources/administration.ts'
import { apiSchemaRoute } from './resources/api-schema.ts'
import { appInstanceRoutes } from './resources/app-instances.ts'
import { authRoutes } from './resources/auth.ts'
import { eventRoutes } from './resources/events.ts'
import { initiatorGroupRoutes } from './resources/initiator-groups.ts'
import { initiatorRoutes } from './resources/initiators.ts'
import { ipPoolRoutes } from './resources/ip-pools.ts'
import { loginRoutes } from './resources/login.ts'
import { logsUploadRoute } from './resources/logs-upload.ts'
import { metadataRoutes } from './resources/metadata.ts'
import { metricRoutes } from './resources/metrics.ts'
import { nodeGroupRoutes } from './resources/node-groups.ts'
import { performancePolicyRoutes } from './resources/performance-policy.ts'
import { placementRoutes } from './resources/placement-policies.ts'
import { remoteProviderRoutes } from './resources/remote-providers.ts'
import { snapshotPolicyRoutes } from './resources/snapshot-policies.ts'
import { snapshotRoutes } from './resources/snapshots.ts'
import { storageInstanceRoutes } from './resources/storage-instances.ts'
import { storageNodeRoutes } from './resources/storage-nodes.ts'
import { systemRoutes } from './resources/system.ts'
import { templatePartRoutes } from './resources/template-parts.ts'
import { templateRoutes } from './resources/templates.ts'
import { tenantRoutes } from './resources/tenants.ts'
import { userRoutes } from './resources/users.ts'
import { volumeRoutes } from './resources/volumes.ts'

/** The whole interface: one table, which the server serves and `/api` describes. */
export function allRoutes(node: NodeContext): Route[] {
  const routes: Route[] = [
    ...loginRoutes(node),
    ...systemRoutes(node),
    ...storageNodeRoutes(node),
    ...tenantRoutes(node),
    ...userRoutes(node),
    ...initiatorRoutes(node),
    ...initiatorGroupRoutes(node),
    ...ipPoolRoutes(node),
    ...placementRoutes(node),
    ...templateRoutes(node),
    ...templatePartRoutes(node),
    ...appInstanceRoutes(node),
    ...storageInstanceRoutes(node),
    ...aclRoutes(node),
    ...authRoutes(node),
    ...volumeRoutes(node),
    ...performancePolicyRoutes(node),
    ...snapshotRoutes(node),
    ...snapshotPolicyRoutes(node),
    ...metadataRoutes(node),
    ...eventRoutes(node),
    ...metricRoutes(node),
    logsUploadRoute(node),
    ...remoteProviderRoutes(node),
    ...nodeGroupRoutes(node),
    ...administrationRoutes(node),
  ]
  const schema = apiSchemaRoute(routes)
  routes.push(schema)
  return routes
}
