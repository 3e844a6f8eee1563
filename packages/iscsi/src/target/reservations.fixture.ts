/** The flag of PERSISTENT RESERVE OUT by which a reservation outlives the target (APTPL). */
export const aptpl = 1

/** PERSISTENT RESERVE OUT with its parameter list. SPC-4, 6.16. */
export function reserveOut(action: number, type: number, key: number, serviceActionKey: number, flags = 0) {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(0x5f, 0)
  cdb.writeUInt8(action, 1)
  cdb.writeUInt8(type, 2)
  cdb.writeUInt32BE(24, 5)
  const write = Buffer.alloc(24)
  write.writeUInt32BE(key, 4)
  write.writeUInt32BE(serviceActionKey, 12)
  write.writeUInt8(flags, 20)
  return [cdb, { write }] as const
}

/** PERSISTENT RESERVE IN. SPC-4, 6.15. */
export function reserveIn(action: number): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(0x5e, 0)
  cdb.writeUInt8(action, 1)
  cdb.writeUInt16BE(1024, 7)
  return cdb
}
