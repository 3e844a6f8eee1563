/** One accepted connection: login, then a session; its timeouts; its end. The only target file that holds a socket. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { SessionPreferences } from '../login/negotiate.ts'
import { type Admission, type LoginOutcome, type LoginReply, TargetLogin } from '../login/target-login.ts'
import { dataSegmentLength, Opcode, opcodeOf } from '../pdu/header.ts'
import { decodeLoginRequest, type LoginRequest } from '../pdu/login-request.ts'
import { encodeLoginResponse, LoginStatus } from '../pdu/login-response.ts'
import { serialAdd } from '../serial.ts'
import { readWith } from './accept.ts'
import { PduWriter } from './pdu-writer.ts'
import { type PduHandler, Receiver } from './receiver.ts'
import { QUEUE_DEPTH } from './scsi-commands.ts'
import { Sender, type SlabPool } from './sender.ts'
import type { Session, SessionLink } from './session.ts'

/** Data segments during login: the default of MaxRecvDataSegmentLength. */
const LOGIN_SEGMENT_BYTES = 8192
/** Bytes that an initiator has not taken above which we read nothing more of it: more than all its reads may queue. */
const MAX_UNSENT_BYTES = 12 * 1048576
/** Times `answerMs` that one PDU may take to arrive, however steadily. */
const SLOWEST_PDU = 30
/** How long a connection may take to deliver what is queued once it is to be closed. */
const LINGER_MS = 2000

/** How long an initiator may take, in milliseconds. */
export interface ConnectionTimeouts {
  /** From the connection to the end of the login. */
  readonly loginMs: number
  /** Without a byte received, after which the initiator is asked for a sign of life. */
  readonly idleMs: number
  /** For that sign; also for progress inside a PDU (three times), and for taking what we send (three times). */
  readonly answerMs: number
  /**
   * To log out, when the target is removed or the server closed: initiators are asked to (RFC 7143 section 11.9.1), and
   * what they have under way goes on meanwhile. 0 does not ask.
   */
  readonly logoutMs: number
}

/** What a connection needs of the server. */
export interface ConnectionHost {
  readonly preferences: SessionPreferences
  readonly timeouts: ConnectionTimeouts
  readonly slabs: SlabPool
  admit(initiatorName: string, targetName: string | undefined, portalGroupTag: number): Admission
  /** Begins the session of a successful login. Rejects to refuse it after all. */
  begin(
    outcome: LoginOutcome,
    connection: Connection,
    numbers: { expCmdSn: number; statSn: number },
  ): Promise<Session>
  nextTsih(): number
  /** A login was refused. Returns for how long the answer is to be held back. */
  refused(connection: Connection, status: number): number
  closed(connection: Connection, reason: string): void
}

export class Connection implements PduHandler, SessionLink {
  readonly writer: PduWriter
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  readonly portalGroupTag: number
  sinkAt = 0
  session: Session | undefined
  readonly #host: ConnectionHost
  readonly #socket: Socket
  readonly #receiver: Receiver
  readonly #sender: Sender
  readonly #login: TargetLogin
  readonly #openedAt: number
  #request: LoginRequest | undefined
  #text = Buffer.alloc(0)
  #statSn = 0
  #paused = false
  /** Reading waits until the initiator has taken what is queued. */
  #backedUp = false
  /** The PDU that is arriving, and since when. */
  #pdus = 0
  #pduSince = 0
  #ended = false
  #closed = false
  #reason = 'the initiator closed the connection'
  #receivedAt: number
  #pingedAt: number | undefined
  #sentBytes = 0
  #sentAt: number

  constructor(accepted: Socket, host: ConnectionHost, portalGroupTag: number, now: number) {
    this.#host = host
    this.portalGroupTag = portalGroupTag
    this.#openedAt = now
    this.#receivedAt = now
    this.#sentAt = now
    this.remoteAddress = accepted.remoteAddress ?? ''
    this.localAddress = accepted.localAddress ?? ''
    this.localPort = accepted.localPort ?? 0
    this.#receiver = new Receiver(this, LOGIN_SEGMENT_BYTES)
    this.#login = new TargetLogin({
      preferences: host.preferences,
      admit: (initiatorName, targetName) => host.admit(initiatorName, targetName, portalGroupTag),
      randomBytes: (count) => randomBytes(count),
    })
    this.#socket = readWith(accepted, (bytes, length) => this.#receive(bytes, length))
    this.#sender = new Sender(this.#socket, host.slabs)
    this.writer = new PduWriter(this.#sender)
    this.#sender.onEmpty = () => {
      if (this.#backedUp) this.#resume()
    }
    this.#socket.on('error', (error) => {
      this.#reason = error.message
    })
    this.#socket.on('close', () => this.#onClose())
  }

  #receive(bytes: Buffer, length: number): boolean {
    if (this.#closed) return true
    this.#receivedAt = Date.now()
    this.#pingedAt = undefined
    this.#receiver.push(bytes, 0, length)
    this.#sender.flush()
    // Answers that nobody takes must not pile up: a flood of pings waits in the socket's buffers.
    if (this.#sender.unsentBytes > MAX_UNSENT_BYTES) this.#backedUp = true
    return !this.#paused && !this.#backedUp
  }

  // --- login ---

  header(from: Buffer, at: number, dataLength: number, additional: Buffer | undefined): Buffer | undefined {
    this.#request = undefined
    if (opcodeOf(from, at) !== Opcode.loginRequest || additional) {
      // Before the login there is nobody to explain it to.
      this.drop('a PDU other than a login request before the login')
      return undefined
    }
    this.#request = decodeLoginRequest(from, at)
    this.#text = Buffer.allocUnsafe(dataSegmentLength(from, at))
    return dataLength > 0 ? this.#text : undefined
  }

  end(): void {
    const request = this.#request
    if (!request) return
    const reply = this.#login.receive(request, this.#text)
    if (this.#statSn === 0) this.#statSn = request.expStatSn
    if (!reply.outcome) {
      if (reply.status === LoginStatus.success) this.#respond(request, reply, 0)
      else this.#refuse(request, reply)
      return
    }
    void this.#begin(request, reply, reply.outcome)
  }

  #refuse(request: LoginRequest, reply: LoginReply): void {
    this.#receiver.stop()
    const answer = (): void => {
      if (this.#closed) return
      this.#respond(request, reply, 0)
      this.finish(`the login was refused with status ${reply.status.toString(16).padStart(4, '0')}`)
    }
    const delayMs = this.#host.refused(this, reply.status)
    if (delayMs > 0) setTimeout(answer, delayMs).unref()
    else answer()
  }

  async #begin(request: LoginRequest, reply: LoginReply, outcome: LoginOutcome): Promise<void> {
    // What comes before the session stands has to wait for it.
    this.#pause()
    try {
      const session = await this.#host.begin(outcome, this, {
        expCmdSn: request.cmdSn,
        statSn: serialAdd(this.#statSn, 1),
      })
      if (this.#closed) return session.connectionClosed()
      this.session = session
      this.#respond(request, reply, this.#host.nextTsih())
      this.#receiver.handler = session
      this.#receiver.maxDataLength = outcome.parameters.maxRecvDataSegmentLength
      this.#receiver.headerDigest = outcome.parameters.headerDigest
      this.#receiver.dataDigest = outcome.parameters.dataDigest
      this.writer.headerDigest = outcome.parameters.headerDigest
      this.writer.dataDigest = outcome.parameters.dataDigest
      this.#sender.flush()
      this.#resume()
    } catch {
      this.#respond(
        request,
        { ...reply, transit: false, nextStage: 0, status: LoginStatus.outOfResources, text: Buffer.alloc(0) },
        0,
      )
      this.finish('the session could not begin')
    }
  }

  #respond(request: LoginRequest, reply: LoginReply, tsih: number): void {
    const pdu = {
      transit: reply.transit,
      continued: false,
      currentStage: reply.currentStage,
      nextStage: reply.nextStage,
      versionMax: 0,
      versionActive: 0,
      isid: request.isid,
      tsih,
      initiatorTaskTag: request.initiatorTaskTag,
      statSn: this.#statSn,
      expCmdSn: request.cmdSn,
      maxCmdSn: serialAdd(request.cmdSn, QUEUE_DEPTH - 1),
      status: reply.status,
      dataLength: reply.text.byteLength,
    }
    this.#statSn = serialAdd(this.#statSn, 1)
    this.writer.write((into, at) => encodeLoginResponse(pdu, into, at), reply.text)
  }

  broken(reason: string): void {
    this.drop(reason)
  }

  // --- time ---

  /** Called every second or so. */
  tick(now: number): void {
    if (this.#closed) return
    const { loginMs, idleMs, answerMs } = this.#host.timeouts
    const silent = now - this.#receivedAt
    if (!this.session) {
      if (now - this.#openedAt > loginMs) this.drop('the login took too long')
      return
    }
    if (this.#socket.bytesWritten !== this.#sentBytes || this.#sender.unsentBytes === 0) {
      this.#sentBytes = this.#socket.bytesWritten
      this.#sentAt = now
    } else if (now - this.#sentAt > 3 * answerMs) {
      this.drop('the initiator does not take what it asked for')
      return
    }
    if (this.#backedUp) return
    if (this.#receiver.insidePdu && silent > 3 * answerMs) {
      this.drop('a PDU did not go on')
      return
    }
    if (!this.#receiver.insidePdu || this.#receiver.pdus !== this.#pdus) {
      this.#pdus = this.#receiver.pdus
      this.#pduSince = now
    } else if (now - this.#pduSince > SLOWEST_PDU * answerMs) {
      this.drop('a PDU came too slowly')
      return
    }
    if (this.#pingedAt !== undefined) {
      if (now - this.#pingedAt > answerMs) this.drop('the initiator gave no sign of life')
    } else if (silent > idleMs && !this.#paused) {
      this.#pingedAt = now
      this.session.ping()
    }
  }

  #pause(): void {
    this.#paused = true
    this.#socket.pause()
  }

  #resume(): void {
    this.#paused = false
    this.#backedUp = false
    this.#socket.resume()
  }

  // --- the end ---

  /** Sends what is queued, then closes. */
  finish(reason: string): void {
    if (this.#ended || this.#closed) return
    this.#ended = true
    this.#reason = reason
    this.#receiver.stop()
    this.#sender.flush()
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref()
  }

  drop(reason: string): void {
    if (this.#closed) return
    this.#reason = reason
    this.#receiver.stop()
    this.#socket.destroy()
  }

  #onClose(): void {
    if (this.#closed) return
    this.#closed = true
    this.#receiver.stop()
    this.#sender.close()
    this.session?.connectionClosed()
    this.#host.closed(this, this.#reason)
  }
}
