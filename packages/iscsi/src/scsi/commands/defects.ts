/** READ DEFECT DATA(10, 12): SBC-3 sections 5.17, 5.18. There are no defects that anybody could see: empty lists. */
import { OperationCode } from '../command-block.ts'
import { answer, type CommandDefinition } from '../command-table.ts'

export const defectCommands: readonly CommandDefinition[] = [
  {
    name: 'READ DEFECT DATA(10)',
    operationCode: OperationCode.readDefectData10,
    usage: '37001f00000000ffff04',
    access: 'read',
    plan: ({ cdb }) => answer(Buffer.from([0, cdb.readUInt8(2) & 0x1f, 0, 0]), cdb.readUInt16BE(7)),
  },
  {
    name: 'READ DEFECT DATA(12)',
    operationCode: OperationCode.readDefectData12,
    usage: 'b71fffffffffffffffff0004',
    access: 'read',
    plan: ({ cdb }) =>
      answer(Buffer.from([0, cdb.readUInt8(1) & 0x1f, 0, 0, 0, 0, 0, 0]), cdb.readUInt32BE(6)),
  },
]
