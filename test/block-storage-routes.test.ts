import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startTestBlock, type TestAnswer } from '../src/block/testing.ts'
import { onEachEngine } from '../src/kernel/db/testing.ts'

/** One operation of the contract. @see test/contracts/block-storage-routes.json */
interface ContractRoute {
  readonly id: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  /** The key of the body, for one of several operations behind one URL. */
  readonly action: string | null
  readonly min_microversion: string
}

const contract = JSON.parse(
  readFileSync(join(import.meta.dirname, 'contracts', 'block-storage-routes.json'), 'utf8'),
) as readonly ContractRoute[] // our own file

/** What the API says of a URL that it does not have, of any resource that it does not have, and of an action. */
const noRoute = 'The resource could not be found.'
const noAction = 'There is no such action'

onEachEngine((engine) => {
  test(`every operation of the contract has a route, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const missing: string[] = []
    for (const route of contract) {
      const path = route.path.replace('/v3/{project_id}', '/v3').replaceAll(/\{\w+\}/g, () => randomUUID())
      const body = bodyOf(route)
      const answer = await block.request('admin', route.method, path, {
        unversioned: true,
        version: route.min_microversion,
        ...(body === undefined ? {} : { body }),
      })
      if (isMissing(answer)) missing.push(route.id)
      assert.ok(answer.status < 500, `${route.id} answered ${answer.status}: ${answer.text}`)
    }
    assert.deepEqual(missing, [])
  })

  test(`an operation does not exist below its microversion, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    for (const route of contract) {
      const minor = Number(route.min_microversion.split('.')[1])
      if (minor === 0) continue
      const path = route.path.replace('/v3/{project_id}', '/v3').replaceAll(/\{\w+\}/g, () => randomUUID())
      const body = bodyOf(route)
      const answer = await block.request('admin', route.method, path, {
        unversioned: true,
        version: `3.${minor - 1}`,
        ...(body === undefined ? {} : { body }),
      })
      assert.ok([400, 404].includes(answer.status), `${route.id} answered ${answer.status} too early`)
    }
  })
})

function bodyOf({ method, action }: ContractRoute): object | undefined {
  if (action !== null) return { [action]: {} }
  return method === 'POST' || method === 'PUT' ? {} : undefined
}

function isMissing({ status, text }: TestAnswer): boolean {
  return (status === 404 && text.includes(noRoute)) || (status === 400 && text.includes(noAction))
}
