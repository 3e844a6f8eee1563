/**
 * What went wrong between the two ends of an iSCSI connection, named for what the caller can do about it:
 * - `protocol`: the peer broke RFC 7143, or sent something that cannot be understood
 * - `authentication`: the login was refused or the peer could not prove who it is; permanent
 * - `login`: the login failed for another reason; `statusClass`/`statusDetail` are those of the Login Response
 * - `rejected`: the peer answered with a Reject PDU
 * - `timeout`: a bounded wait ended; the message says what was waited for
 * - `closed`: the connection ended before the answer came
 * - `unsupported`: the peer asks for, or lacks, something this end needs
 * - `invalid`: the caller's own arguments are wrong
 */
export type IscsiErrorCode =
  | 'protocol'
  | 'authentication'
  | 'login'
  | 'rejected'
  | 'timeout'
  | 'closed'
  | 'unsupported'
  | 'invalid'

/** Thrown by both ends; match on `code`. See `IscsiErrorCode` for what each means. */
export class IscsiError extends Error {
  override readonly name = 'IscsiError'
  readonly code: IscsiErrorCode
  /** Status-Class of the Login Response (RFC 7143 section 11.13.5), when one was received. */
  readonly statusClass: number | undefined
  /** Status-Detail of the Login Response, when one was received. */
  readonly statusDetail: number | undefined

  constructor(
    code: IscsiErrorCode,
    message: string,
    options: { cause?: unknown; statusClass?: number; statusDetail?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.statusClass = options.statusClass
    this.statusDetail = options.statusDetail
  }
}

/**
 * A SCSI command that did not end with GOOD: its status (SAM-5 section 5.3) and, for CHECK CONDITION, the sense data's
 * three numbers (SPC-4 section 4.5). The initiator throws it; a device behind a target throws it to choose what the
 * initiator sees.
 */
export class ScsiError extends Error {
  override readonly name = 'ScsiError'
  /** SAM-5 status: 02 CHECK CONDITION, 08 BUSY, 18 RESERVATION CONFLICT, 28 TASK SET FULL, 40 TASK ABORTED. */
  readonly status: number
  /** 0 when the status is not CHECK CONDITION. */
  readonly senseKey: number
  /** Additional sense code. */
  readonly asc: number
  /** Additional sense code qualifier. */
  readonly ascq: number
  /** The INFORMATION field, where the sense data has a valid one: an LBA, or a byte offset for a miscompare. */
  readonly information: number | undefined

  constructor(
    message: string,
    fields: {
      status: number
      senseKey?: number
      asc?: number
      ascq?: number
      information?: number | undefined
    },
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.status = fields.status
    this.senseKey = fields.senseKey ?? 0
    this.asc = fields.asc ?? 0
    this.ascq = fields.ascq ?? 0
    this.information = fields.information
  }
}
