import { MiB } from '../../../kernel/bytes.ts'
import { Misconfigured } from '../../../kernel/errors.ts'
import { Secret } from '../../../kernel/secret.ts'
import { readTrust } from '../../../kernel/tls-trust.ts'
import { defineImageStore } from '../../image-store.ts'
import { s3StoreOptions } from './options.ts'

export default defineImageStore({
  type: 's3',
  schemes: ['s3', 's3+http', 's3+https'],
  options: s3StoreOptions,
  async create(settings, place) {
    const missing = [
      ...(settings.host === '' ? ['s3_store_host'] : []),
      ...(settings.accessKey === '' ? ['s3_store_access_key'] : []),
      ...(settings.secretKey === undefined ? ['s3_store_secret_key'] : []),
      ...(settings.bucket === '' ? ['s3_store_bucket'] : []),
    ]
    if (missing.length > 0) {
      throw new Misconfigured(`[${place.name}] of type s3 needs ${missing.join(', ')}.`, {
        details: { section: place.name, missing },
      })
    }
    const { protocol, host, hostname } = endpointOf(settings.host, place.name)
    const [{ S3Client }, { S3Store }] = await Promise.all([
      import('../../../s3/client.ts'),
      import('./store.ts'),
    ])
    const checksums = (word: string) => (word === 'when_supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED')
    const client = new S3Client({
      endpoint: `${protocol}//${host}`,
      accessKey: settings.accessKey,
      secretKey: settings.secretKey ?? new Secret(''),
      region: settings.region,
      pathStyle:
        settings.bucketUrlFormat === 'path' ||
        (settings.bucketUrlFormat === 'auto' && !hostname.endsWith('.amazonaws.com')),
      trust: readTrust('s3_store_cacert', settings.caFile, false),
      ...(settings.integrity
        ? {
            requestChecksums: checksums(settings.requestChecksums),
            responseChecksums: checksums(settings.responseChecksums),
          }
        : {}),
    })
    return new S3Store(
      {
        host,
        secure: protocol === 'https:',
        bucket: settings.bucket,
        createBucket: settings.createBucket,
        largeBytes: settings.largeObjectMib * MiB,
        partBytes: settings.partMib * MiB,
        parallelParts: settings.parallelParts,
      },
      client,
    )
  },
  occupies: ({ host, bucket }) => `${host.replace(/^https?:\/\//, '').replace(/\/+$/, '')}/${bucket}`,
})

function endpointOf(host: string, section: string): URL {
  const url = /^https?:\/\//.test(host) ? host : `http://${host}`
  if (URL.canParse(url)) return new URL(url)
  throw new Misconfigured(`[${section}] s3_store_host: '${host}' is not the address of a server.`, {
    details: { section, option: 's3_store_host' },
  })
}
