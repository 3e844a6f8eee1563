import { NotFound } from '../../kernel/errors.ts'
import type { ApiScope } from '../api.ts'
import { servedMetadefSchemas } from '../metadefs/schemas.ts'

export function schemaRoutes({ app, environment }: ApiScope): void {
  const texts = new Map(
    [...environment.schemas.served].map(([name, schema]) => [name, JSON.stringify(schema)]),
  )
  app.get<{ Params: { name: string } }>('/schemas/:name', async (request, reply) => {
    const text = texts.get(request.params.name)
    if (text === undefined) throw new NotFound(`There is no schema called ${request.params.name}.`)
    return reply.type('application/json').send(text)
  })
  const metadefTexts = new Map(
    [...servedMetadefSchemas].map(([name, schema]) => [name, JSON.stringify(schema)]),
  )
  app.get<{ Params: { name: string } }>('/schemas/metadefs/:name', async (request, reply) => {
    const text = metadefTexts.get(request.params.name)
    if (text === undefined) throw new NotFound(`There is no schema called ${request.params.name}.`)
    return reply.type('application/json').send(text)
  })
}
