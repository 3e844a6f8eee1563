import { boolean, choice, integer, optionalText, secret, text } from '../../../kernel/config/options.ts'

/** Options of `[<store>]` for a store of type `s3`; upstream's names. */
export const s3StoreOptions = {
  host: text('s3_store_host', {
    help: 'The server: host, host:port, or with http:// or https:// before it.',
  }),
  accessKey: text('s3_store_access_key', { help: 'The access key.' }),
  secretKey: secret('s3_store_secret_key', { help: 'The secret that belongs to it.' }),
  bucket: text('s3_store_bucket', { help: 'The bucket that holds the images.' }),
  region: optionalText('s3_store_region_name', { help: 'The region, for signatures. us-east-1 when empty.' }),
  createBucket: boolean('s3_store_create_bucket_on_put', { help: 'Make the bucket when it is missing.' }),
  bucketUrlFormat: choice('s3_store_bucket_url_format', ['auto', 'virtual', 'path'], {
    default: 'auto',
    help: 'Whether the bucket stands in the host name or in the path. auto: in the name at Amazon only.',
  }),
  largeObjectMib: integer('s3_store_large_object_size', {
    default: 100,
    min: 0,
    help: 'MiB from which an image is sent in parts; 0 sends each in parts.',
  }),
  partMib: integer('s3_store_large_object_chunk_size', {
    default: 10,
    min: 5,
    help: 'MiB of a part, 5 or more. Huge images get larger parts: S3 allows 10,000.',
  }),
  parallelParts: integer('s3_store_thread_pools', {
    default: 10,
    min: 1,
    help: 'Parts that are sent at once. Each is in memory.',
  }),
  caFile: optionalText('s3_store_cacert', { help: "Authorities that sign the server's certificate." }),
  integrity: boolean('s3_store_enable_data_integrity_protection', {
    help: 'Use the two options below.',
  }),
  requestChecksums: choice('s3_store_request_checksum_calculation', ['when_required', 'when_supported'], {
    default: 'when_required',
    help: 'When checksums go with requests.',
  }),
  responseChecksums: choice('s3_store_response_checksum_validation', ['when_required', 'when_supported'], {
    default: 'when_required',
    help: 'When checksums of answers are checked.',
  }),
}
