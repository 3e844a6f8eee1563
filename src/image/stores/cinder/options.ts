import {
  boolean,
  integer,
  list,
  type Option,
  optionalText,
  seconds,
  secret,
  text,
} from '../../../kernel/config/options.ts'

const multiTenant: Option<boolean | undefined> = {
  ...boolean('cinder_store_multitenant', {
    help: "Keep images in the requester's project. Default: when no credentials of the store are given.",
  }),
  default: undefined,
}

/** Options of `[<store>]` for a store of type `cinder`; upstream's names, and those of the 2014 proposal. */
export const cinderStoreOptions = {
  catalogInfo: text('cinder_catalog_info', {
    default: 'volumev3::publicURL',
    help: 'Which service of the catalog: type, name and interface, with colons between them.',
  }),
  endpointTemplate: optionalText('cinder_endpoint_template', {
    help: 'The URL of the service instead, with %(project_id)s in it.',
  }),
  region: optionalText('cinder_os_region_name', { help: 'The region in the catalog.' }),
  caFile: optionalText('cinder_ca_certificates_file', { help: 'Authorities that sign the certificates.' }),
  insecure: boolean('cinder_api_insecure', { help: 'Accept any certificate.' }),
  retries: integer('cinder_http_retries', {
    default: 3,
    min: 0,
    help: 'How often a failed call is repeated.',
  }),
  transitionSeconds: seconds('cinder_state_transition_timeout', {
    default: 300,
    help: 'Seconds to wait for a volume to become what was asked for.',
  }),
  authAddress: optionalText('cinder_store_auth_address', {
    help: 'Where to log in. Default: the Identity service of this installation.',
  }),
  user: optionalText('cinder_store_user_name', {
    help: 'User of the store.',
    deprecatedNames: ['cinder_store_user'],
  }),
  userDomain: text('cinder_store_user_domain_name', { default: 'Default', help: "The user's domain." }),
  password: secret('cinder_store_password', {
    help: "The user's password.",
    deprecatedNames: ['cinder_store_key'],
  }),
  applicationCredentialId: optionalText('cinder_store_application_credential_id', {
    help: 'An application credential instead of user and password.',
  }),
  applicationCredentialSecret: secret('cinder_store_application_credential_secret', { help: 'Its secret.' }),
  project: optionalText('cinder_store_project_name', {
    help: 'Project that holds the image volumes.',
    deprecatedNames: ['cinder_store_tenant'],
  }),
  projectDomain: text('cinder_store_project_domain_name', {
    default: 'Default',
    help: "The project's domain.",
  }),
  multiTenant,
  volumeType: optionalText('cinder_volume_type', { help: 'Type of image volumes.' }),
  useMultipath: boolean('cinder_use_multipath', { help: 'Use every portal of a target.' }),
  enforceMultipath: boolean('cinder_enforce_multipath', { help: 'Read for compatibility.' }),
  mountPointBase: text('cinder_mount_point_base', {
    default: '/var/lib/glance/mnt',
    help: 'Read for compatibility: nothing is mounted.',
  }),
  extendAttached: boolean('cinder_do_extend_attached', {
    help: 'Grow a volume while it is attached, for images of unknown size.',
  }),
  attachmentAttempts: integer('cinder_attachment_retry_attempts', {
    default: 5,
    min: 1,
    help: 'Tries to attach a volume that is busy.',
  }),
  rootwrapConfig: text('rootwrap_config', {
    default: '/etc/glance/rootwrap.conf',
    help: 'Read for compatibility: nothing here needs root.',
  }),
  bootableFormats: list('bootable_volume_formats', {
    help: 'Disk formats whose volumes are marked bootable.',
  }),
}

type OptionValue<Type> = Type extends { parse(text: string): infer Value } ? Value : never

export type CinderStoreSettings = {
  readonly [Key in keyof typeof cinderStoreOptions]: OptionValue<(typeof cinderStoreOptions)[Key]>
}
