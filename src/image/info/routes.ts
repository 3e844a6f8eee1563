import { Forbidden, NotFound } from '../../kernel/errors.ts'
import type { ApiScope } from '../api.ts'
import { sendJson } from '../images/routes.ts'
import type { ConfiguredStore, StoreRegistry } from '../store-registry.ts'

export function infoRoutes({ app, environment, requestOf }: ApiScope): void {
  const { stores, policy } = environment

  app.get('/info/import', async (_request, reply) =>
    sendJson(reply, 200, {
      'import-methods': {
        description: 'Import methods available.',
        type: 'array',
        value: environment.importMethods,
      },
    }),
  )

  // the operators' guide calls it by the second name as well
  for (const path of ['/info/stores', '/stores/info']) {
    app.get(path, async (_request, reply) => {
      requireMultiStore(stores)
      return sendJson(reply, 200, { stores: stores.stores.map((store) => storeView(store, stores)) })
    })
  }

  app.get('/info/stores/detail', async (request, reply) => {
    requireMultiStore(stores)
    if (!policy.allows('stores_info_detail', requestOf(request).identity)) {
      throw new Forbidden('You are not authorized to complete this action.')
    }
    return sendJson(reply, 200, {
      stores: stores.stores.map((configured) => ({
        ...storeView(configured, stores),
        type: configured.type,
        weight: configured.weight,
        properties: configured.store.properties ?? {},
      })),
    })
  })

  app.get('/info/usage', async (request, reply) =>
    sendJson(reply, 200, { usage: await environment.quotas.usage(requestOf(request)) }),
  )
}

/** @throws NotFound when stores have no names */
function requireMultiStore(stores: StoreRegistry): void {
  if (!stores.multiStore) throw new NotFound('Multi backend is not supported at this site.')
}

function storeView(store: ConfiguredStore, stores: StoreRegistry): Record<string, unknown> {
  return {
    id: store.id,
    ...(store.description === undefined ? {} : { description: store.description }),
    ...(store === stores.default ? { default: 'true' } : {}),
    ...(store.readOnly ? { 'read-only': 'true' } : {}),
  }
}
