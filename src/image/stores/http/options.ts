import { boolean, dictionary, optionalText } from '../../../kernel/config/options.ts'

/** Options of `[<store>]` for a store of type `http`; upstream's names. */
export const httpStoreOptions = {
  caFile: optionalText('https_ca_certificates_file', {
    help: 'Authorities that sign the certificates of servers. Wins over https_insecure.',
  }),
  insecure: boolean('https_insecure', {
    default: true,
    help: "Accept any certificate. Upstream's default; set it to false, or give an authority.",
  }),
  proxies: dictionary('http_proxy_information', {
    help: 'Proxies, as scheme:proxy,scheme:proxy: http:127.0.0.1:3128.',
  }),
}
