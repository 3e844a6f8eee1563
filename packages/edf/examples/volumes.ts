// Makes a volume, a snapshot of it and a clone of that, lists what there is, and removes it all.
// Environment: EDF_URL (such as https://192.0.2.10:7718), EDF_LOGIN, EDF_PASSWORD.
import { EdfClient, removeAppInstance, untilSnapshotReady } from '@emberglass/edf/client'

const url = new URL(process.env['EDF_URL'] ?? 'https://127.0.0.1:7718')
const call = { signal: AbortSignal.timeout(60_000) }
await using array = await EdfClient.connect(
  {
    host: url.hostname,
    port: Number(url.port),
    tls: url.protocol === 'https:' ? { verify: false } : false,
    login: process.env['EDF_LOGIN'] ?? 'admin',
    password: process.env['EDF_PASSWORD'] ?? '',
    driver: 'Example-1.0',
  },
  call,
)
console.log(`EDF ${array.productVersion}, API ${array.version}`)
const root = array.in('/root')

// One request makes the app instance and all that is nested in it. Sizes are GiB.
const volume = { name: 'volume-1', size: 1, replica_count: 1 }
const made = await root.appInstances.create(
  {
    name: 'example',
    access_control_mode: 'deny_all',
    storage_instances: [{ name: 'storage-1', volumes: [volume] }],
  },
  call,
)
const [storageInstance] = made.storage_instances
console.log(`${made.path} at ${storageInstance?.access?.ips.join(', ')}, ${storageInstance?.access?.iqn}`)

const volumePath = storageInstance?.volumes[0]?.path ?? ''
const taken = await root.snapshots(volumePath).create({}, call)
const snapshot = await untilSnapshotReady(root, volumePath, taken, 30_000, call)
const source = { path: snapshot.path }
const clone = await root.appInstances.create({ name: 'example-clone', clone_snapshot_src: source }, call)

for await (const each of root.appInstances.iterate({ sort: 'name' }, call)) console.log(each.name)

await removeAppInstance(root, clone, call)
await root.snapshots(volumePath).delete(snapshot.utc_ts, {}, call)
await removeAppInstance(root, made, call)
