import { readFileSync } from 'node:fs'
import { Misconfigured, messageOf } from './errors.ts'

/** Whom an outgoing TLS connection trusts. */
export interface TlsTrust {
  /** Certificates of authorities, PEM; absent trusts those of the system. */
  readonly ca?: string | undefined
  /** False accepts any certificate. */
  readonly verify: boolean
}

/**
 * Reads the usual pair of options: a file of authorities, and a switch that turns the check off. The file wins.
 * @param option name of the file's option, for the error
 * @throws Misconfigured when the file cannot be read
 */
export function readTrust(option: string, caFile: string | undefined, insecure: boolean): TlsTrust {
  if (caFile === undefined || caFile === '') return { verify: !insecure }
  try {
    return { ca: readFileSync(caFile, 'utf8'), verify: true }
  } catch (cause) {
    throw new Misconfigured(`${option}: ${caFile} cannot be read: ${messageOf(cause)}.`, {
      details: { option },
      cause,
    })
  }
}

/** The same as the options of `node:tls`. */
export function connectOptions(trust: TlsTrust): { ca?: string; rejectUnauthorized: boolean } {
  return { ...(trust.ca === undefined ? {} : { ca: trust.ca }), rejectUnauthorized: trust.verify }
}
