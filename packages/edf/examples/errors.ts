// What can go wrong, as classes; and every request and answer, as they happen.
// Environment: EDF_URL (such as https://192.0.2.10:7718), EDF_LOGIN, EDF_PASSWORD.
import { EdfAuth, EdfClient, EdfNotFound, EdfUnavailable, type Exchange } from '@emberglass/edf/client'

const url = new URL(process.env['EDF_URL'] ?? 'https://127.0.0.1:7718')
const onExchange = ({ method, url, status, failure }: Exchange) =>
  console.log(`${method} ${new URL(url).pathname}: ${status ?? failure}`)
const call = { signal: AbortSignal.timeout(60_000), traceId: 'example', onExchange }
const options = {
  host: url.hostname,
  port: Number(url.port),
  tls: url.protocol === 'https:' ? { verify: false } : (false as const),
  login: process.env['EDF_LOGIN'] ?? 'admin',
  driver: 'Example-1.0',
  retry: { budgetMs: 1000, intervalMs: 200 },
}
const password = process.env['EDF_PASSWORD'] ?? ''

{
  await using array = await EdfClient.connect({ ...options, password }, call)
  const appInstances = array.in('/root').appInstances
  console.log(await appInstances.find('nobody-made-this', call)) // undefined
  try {
    await appInstances.get('nobody-made-this', call)
  } catch (error) {
    if (!(error instanceof EdfNotFound)) throw error
    console.log(`${error.name} ${error.status}, code ${error.apiCode}`)
  }
}
try {
  await EdfClient.connect({ ...options, password: 'not the password' }, call)
} catch (error) {
  if (!(error instanceof EdfAuth)) throw error
  console.log(`${error.name}: refused at once`)
}
try {
  await EdfClient.connect({ ...options, password, port: 1 }, call)
} catch (error) {
  if (!(error instanceof EdfUnavailable)) throw error
  console.log(`${error.name}: tried for a second, carried out: ${error.outcome}`)
}
