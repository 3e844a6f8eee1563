import { Type } from 'typebox'
import { NotFound } from '../../kernel/errors.ts'
import { type Operation, operation, parameter } from '../operation.ts'
import { authorize } from '../policy.ts'
import { closed, validator } from '../validation.ts'

const text = Type.String({ minLength: 1, maxLength: 255 })
const toggleBody = validator(
  closed({
    name: text,
    binary: Type.Optional(text),
    disabled_reason: Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()])),
  }),
)

/**
 * `/clusters`, from 3.7 on. Volume services here never form a cluster: several controllers share a database and its
 * queue instead, and each answers for its own backends.
 */
export function clusterOperations(): readonly Operation[] {
  const since = 7
  const list = (path: string): Operation => ({
    method: 'GET',
    path,
    since,
    async run(request) {
      authorize(request.identity, 'clusters:get_all')
      return { status: 200, body: { clusters: [] } }
    },
  })
  const toggle = (verb: 'enable' | 'disable') =>
    operation({
      method: 'PUT',
      path: `/clusters/${verb}`,
      since,
      body: toggleBody,
      async run(request, { name }) {
        authorize(request.identity, 'clusters:update')
        throw clusterNotFound(name)
      },
    })
  return [
    list('/clusters'),
    list('/clusters/detail'),
    {
      method: 'GET',
      path: '/clusters/:name',
      since,
      async run(request) {
        authorize(request.identity, 'clusters:get')
        throw clusterNotFound(parameter(request, 'name'))
      },
    },
    toggle('enable'),
    toggle('disable'),
  ]
}

const clusterNotFound = (name: string) => new NotFound(`Cluster ${name} could not be found.`)
