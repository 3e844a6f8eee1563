import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Instance } from './instance.ts'

const startPatienceMs = 30_000

/** How to log in to the embedded array: the variables of `edf.env`. */
export async function arrayLogin(stateDirectory: string): Promise<Readonly<Record<string, string>>> {
  const text = await readFile(join(stateDirectory, 'edf.env'), 'utf8')
  return Object.fromEntries(
    [...text.matchAll(/^(\w+)='(.*)'$/gm)].map((match) => [match[1] ?? '', match[2] ?? '']),
  )
}

/** Names of the app instances on the array, asked of the array itself. */
export async function appInstances(instance: Instance): Promise<readonly string[]> {
  const edf = await arrayLogin(instance.stateDirectory)
  const url = `http://${edf['EDF_HOST']}:${edf['EDF_HTTP_PORT']}/v2.2`
  await instance.edfNodePid()
  const login = await whenReady(`${url}/login`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: edf['EDF_LOGIN'], password: edf['EDF_PASSWORD'] }),
  })
  const { key } = (await login.json()) as { key: string }
  const headers = { 'auth-token': key, tenant: '/root' }
  const answer = await whenReady(`${url}/app_instances?limit=1000`, { headers })
  const { data: list } = (await answer.json()) as { data: { name: string }[] }
  return list.map((appInstance) => appInstance.name)
}

/** Asks again while the array is being started: first nobody listens, then it answers 503. */
async function whenReady(url: string, init: RequestInit): Promise<Response> {
  const deadline = Date.now() + startPatienceMs
  for (;;) {
    const answer = await fetch(url, init).catch((error: unknown) => {
      if (Date.now() > deadline) throw error
    })
    if (answer?.ok === true) return answer
    if (answer !== undefined && (answer.status !== 503 || Date.now() > deadline)) {
      throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
