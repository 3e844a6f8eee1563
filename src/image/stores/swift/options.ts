import {
  boolean,
  choice,
  integer,
  list,
  optionalText,
  seconds,
  secret,
  text,
} from '../../../kernel/config/options.ts'

/** Options of `[<store>]` for a store of type `swift`; upstream's names. */
export const swiftStoreOptions = {
  authVersion: choice('swift_store_auth_version', ['3', '1'], {
    default: '3',
    help: "Keystone's API version; 1 is Swift's own login.",
  }),
  authAddress: optionalText('swift_store_auth_address', { help: 'Where to log in, when there is no file.' }),
  user: optionalText('swift_store_user', { help: 'project:user, when there is no file.' }),
  key: secret('swift_store_key', { help: 'Its password.' }),
  applicationCredentialId: optionalText('swift_store_application_credential_id', {
    help: 'An application credential instead of user and key.',
  }),
  applicationCredentialSecret: secret('swift_store_application_credential_secret', { help: 'Its secret.' }),
  projectName: optionalText('swift_store_project_name', {
    help: 'The project, instead of that of the user.',
  }),
  projectId: optionalText('swift_store_project_id', { help: "The project's id, instead of its name." }),
  defaultReference: text('default_swift_reference', {
    default: 'ref1',
    help: 'The section of the reference file that new images are kept with.',
  }),
  referenceFile: optionalText('swift_store_config_file', { help: 'The reference file.' }),
  insecure: boolean('swift_store_auth_insecure', { help: 'Accept any certificate.' }),
  caFile: optionalText('swift_store_cacert', { help: 'Authorities that sign the certificates.' }),
  region: optionalText('swift_store_region', { help: 'The region in the catalog.' }),
  endpoint: optionalText('swift_store_endpoint', { help: "The account's URL, instead of the catalog's." }),
  endpointType: choice('swift_store_endpoint_type', ['publicURL', 'adminURL', 'internalURL'], {
    default: 'publicURL',
    help: 'The interface in the catalog.',
  }),
  serviceType: text('swift_store_service_type', {
    default: 'object-store',
    help: 'The type in the catalog.',
  }),
  container: text('swift_store_container', {
    default: 'glance',
    help: 'The container, or how its name begins.',
  }),
  largeObjectMib: integer('swift_store_large_object_size', {
    default: 5120,
    min: 1,
    help: 'MiB from which an image is kept in segments.',
  }),
  segmentMib: integer('swift_store_large_object_chunk_size', {
    default: 200,
    min: 1,
    help: 'MiB of a segment.',
  }),
  createContainer: boolean('swift_store_create_container_on_put', {
    help: 'Make the container when it is missing.',
  }),
  multiTenant: boolean('swift_store_multi_tenant', {
    help: "Keep images in the requester's account, each in a container of its own.",
  }),
  containersSeed: integer('swift_store_multiple_containers_seed', {
    default: 0,
    min: 0,
    max: 32,
    help: "How many characters of an image's id choose its container; 0 is one container for all.",
  }),
  adminTenants: list('swift_store_admin_tenants', {
    help: 'Projects that may write to the containers of multi-tenant images.',
  }),
  sslCompression: boolean('swift_store_ssl_compression', { default: true, help: 'Read for compatibility.' }),
  retryGetCount: integer('swift_store_retry_get_count', {
    default: 0,
    min: 0,
    help: 'How often a download goes on after its connection broke; 3 times at least.',
  }),
  expireSoonSeconds: seconds('swift_store_expire_soon_interval', {
    default: 60,
    help: 'Seconds before its end at which a token is replaced.',
  }),
  useTrusts: boolean('swift_store_use_trusts', { default: true, help: 'Read for compatibility.' }),
  bufferOnUpload: boolean('swift_buffer_on_upload', {
    help: 'Keep each segment on disk until Swift has it, so that it can be sent again.',
  }),
  bufferDirectory: optionalText('swift_upload_buffer_dir', { help: 'Where.' }),
}

type OptionValue<Type> = Type extends { parse(text: string): infer Value } ? Value : never

export type SwiftStoreSettings = {
  readonly [Key in keyof typeof swiftStoreOptions]: OptionValue<(typeof swiftStoreOptions)[Key]>
}
