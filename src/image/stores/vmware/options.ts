import { boolean, integer, multiple, optionalText, secret, text } from '../../../kernel/config/options.ts'

/** Options of `[<store>]` for a store of type `vmware`; upstream's names. */
export const vmwareStoreOptions = {
  host: text('vmware_server_host', { help: 'vCenter or ESX: host or host:port.' }),
  username: text('vmware_server_username', { help: 'User there.' }),
  password: secret('vmware_server_password', { help: "The user's password." }),
  datastores: multiple('vmware_datastores', {
    help: 'datacenter:datastore:weight, one per line; the highest weight with room is used.',
  }),
  imageDirectory: text('vmware_store_image_dir', {
    default: '/openstack_glance',
    help: 'Folder of the images.',
  }),
  retries: integer('vmware_api_retry_count', {
    default: 10,
    min: 1,
    help: 'How often a failed call is repeated.',
  }),
  pollSeconds: integer('vmware_task_poll_interval', {
    default: 5,
    min: 1,
    help: 'Seconds between two looks at a task.',
  }),
  caFile: optionalText('vmware_ca_file', { help: "Authorities that sign the server's certificate." }),
  insecure: boolean('vmware_insecure', { help: 'Accept any certificate.' }),
}
