/** An initiator port on a target port: who a reservation belongs to, and who is told of a change. */

/** `<initiator name>,i,0x<ISID>`: the initiator port's name (RFC 7143 section 4.4.2). Outlives the session. */
export type NexusId = string

export interface Nexus {
  readonly id: NexusId
  readonly initiatorName: string
}

/** @param isid 6 bytes */
export function nexusOf(initiatorName: string, isid: Buffer): Nexus {
  return { id: `${initiatorName},i,0x${isid.toString('hex')}`, initiatorName }
}
