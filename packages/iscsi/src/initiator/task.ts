/** A SCSI command as the initiator sends it. */
export interface Command {
  /** Completes sentences such as "timed out waiting for …": what is done, to which blocks. */
  readonly what: string
  readonly lun: number
  /** 16 bytes. */
  readonly commandBlock: Buffer
  /** Filled by the target. */
  readonly dataIn?: Uint8Array
  /** Sent to the target; must not change before the command has ended. */
  readonly dataOut?: Uint8Array
  /** How long the target may take, from the moment the command is sent. */
  readonly timeoutMs: number
  /** Whether the command may be sent again when the connection was lost before its answer came. */
  readonly replay: boolean
}

/** How a command ended, as the target said. */
export interface Outcome {
  /** SAM-5 status. */
  readonly status: number
  /** Empty unless the status is CHECK CONDITION. */
  readonly sense: Buffer
  /** Bytes of `dataIn` that the target has filled. */
  readonly receivedBytes: number
  /** Bytes that were expected to move and did not. */
  readonly underflowBytes: number
}

/** A command on its way: waiting for its turn, or sent and not answered yet. */
export class Task {
  readonly command: Command
  /** Resolves or rejects once; its buffers are the caller's again from then on. */
  readonly done: Promise<Outcome>
  readonly queuedAt = performance.now()
  /** Initiator task tag and serial number, while it is with the target. */
  tag = 0
  cmdSn = 0
  /** When the target must have answered, as `performance.now()`. */
  deadlineAt = Number.POSITIVE_INFINITY
  receivedBytes = 0
  /** Why it is being aborted at the target: what it rejects with then. */
  abortReason: { readonly error: unknown } | undefined
  #resolve: (outcome: Outcome) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #settled = false

  constructor(command: Command) {
    this.command = command
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get isSettled(): boolean {
    return this.#settled
  }

  complete(outcome: Outcome): void {
    this.#settled = true
    if (this.abortReason !== undefined) this.#reject(this.abortReason.error)
    else this.#resolve(outcome)
  }

  fail(error: unknown): void {
    this.#settled = true
    this.#reject(this.abortReason === undefined ? error : this.abortReason.error)
  }
}
