/** SCSI status codes (SAM-5 section 5.3.1). */
export const ScsiStatus = {
  good: 0x00,
  checkCondition: 0x02,
  conditionMet: 0x04,
  busy: 0x08,
  reservationConflict: 0x18,
  taskSetFull: 0x28,
  taskAborted: 0x40,
} as const

const NAMES: Readonly<Record<number, string>> = {
  0: 'GOOD',
  2: 'CHECK CONDITION',
  4: 'CONDITION MET',
  8: 'BUSY',
  24: 'RESERVATION CONFLICT',
  40: 'TASK SET FULL',
  64: 'TASK ABORTED',
}

export function statusName(status: number): string {
  return NAMES[status] ?? `status ${status.toString(16).padStart(2, '0')}h`
}
