/** An initiator port on a target port: who a reservation belongs to, and who is told of a change. */

/**
 * `<initiator name>,i,0x<ISID>`, the initiator port's name (RFC 7143 section 4.4.2), and `,t,0x<tag>` for the port of
 * the target where it is not the first portal group. Outlives the session.
 */
export type NexusId = string

export interface Nexus {
  readonly id: NexusId
  readonly initiatorName: string
}

/** @param isid 6 bytes */
export function nexusOf(initiatorName: string, isid: Buffer, portalGroupTag: number): Nexus {
  const port = `${initiatorName},i,0x${isid.toString('hex')}`
  return { id: portalGroupTag === 1 ? port : `${port},t,0x${portalGroupTag.toString(16)}`, initiatorName }
}

/** The initiator port's name alone, and the tag of the target's portal group. */
export function partsOf(id: NexusId): { readonly initiatorPort: string; readonly portalGroupTag: number } {
  const [suffix, tag] = /,t,0x([0-9a-f]{1,4})$/.exec(id) ?? []
  if (suffix === undefined || tag === undefined) return { initiatorPort: id, portalGroupTag: 1 }
  return { initiatorPort: id.slice(0, -suffix.length), portalGroupTag: Number.parseInt(tag, 16) }
}
