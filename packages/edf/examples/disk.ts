// Writes to a volume of the array and reads it back, through iSCSI in this process.
// Environment: EDF_URL (such as https://192.0.2.10:7718), EDF_LOGIN, EDF_PASSWORD.
import { ArrayAccess, removeAppInstance } from '@emberglass/edf/client'
import { readBytes } from '@emberglass/iscsi'

const url = new URL(process.env['EDF_URL'] ?? 'https://127.0.0.1:7718')
const call = { signal: AbortSignal.timeout(60_000) }
await using access = new ArrayAccess({
  client: async () => ({
    host: url.hostname,
    port: Number(url.port),
    tls: url.protocol === 'https:' ? { verify: false } : false,
    login: process.env['EDF_LOGIN'] ?? 'admin',
    password: process.env['EDF_PASSWORD'] ?? '',
    driver: 'Example-1.0',
  }),
  disks: {
    initiatorName: 'iqn.2001-04.com.example:host',
    iscsiPort: 3260,
    chap: () => undefined,
    multipath: true,
    onLeftBehind: (path, error) => console.error(`still on the access list of ${path}:`, error),
  },
  onTenantRefused: (tenant, error) => console.error(`may not create ${tenant}:`, error),
})
const { client, disks } = await access.connect(call)
const root = client.in('/root')
const volumes = [{ name: 'volume-1', size: 1, replica_count: 1 }]
const request = { name: 'example-disk', storage_instances: [{ name: 'storage-1', volumes }] }
const appInstance = await root.appInstances.create(request, call)
try {
  // Registers the initiator, puts it on the access list, logs in; closing the disk takes all of it back.
  await using disk = await disks.open('/root', appInstance, 'rw', call)
  await disk.write(4096, Buffer.alloc(4096, 'emberglass '), call)
  await disk.flush(call)
  const bytes = await readBytes(disk, 4096, 4096, call)
  console.log(`${disk.sizeBytes} bytes; read "${Buffer.from(bytes.subarray(0, 10))}"`)
} finally {
  await removeAppInstance(root, appInstance, call)
}
