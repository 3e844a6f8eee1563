import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Instance } from './instance.ts'

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
  const deadline = Date.now() + 30_000
  const logIn = (): Promise<Response> =>
    fetch(`${url}/login`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: edf['EDF_LOGIN'], password: edf['EDF_PASSWORD'] }),
    }).catch(async (error: unknown) => {
      if (Date.now() > deadline) throw error // it is being started again
      await new Promise((resolve) => setTimeout(resolve, 100))
      return await logIn()
    })
  const login = await logIn()
  const { key } = (await login.json()) as { key: string }
  const answer = await fetch(`${url}/app_instances?limit=1000`, {
    headers: { 'auth-token': key, tenant: '/root' },
  })
  const { data: list } = (await answer.json()) as { data: { name: string }[] }
  return list.map((appInstance) => appInstance.name)
}
