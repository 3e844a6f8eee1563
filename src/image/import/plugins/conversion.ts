import { FormatInspector } from '../../../disk-image/inspect.ts'
import { openQcow2 } from '../../../disk-image/qcow2/device.ts'
import { FileReader } from '../../../disk-image/random-reader.ts'
import { judge } from '../../../disk-image/verdict.ts'
import { type Bytes, MiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { Invalid, NoCapacity, Unsupported } from '../../../kernel/errors.ts'
import { requireRow } from '../../images/queries.ts'
import { rememberBefore } from '../state.ts'
import { type ProgramLimits, runProgram } from './limited-program.ts'
import type { PluginRun } from './run.ts'

/** Formats whose name qemu-img spells differently. */
const qemuNames: Readonly<Record<string, string>> = { vhd: 'vpc', ploop: 'parallels' }
const infoLimits: ProgramLimits = { cpuSeconds: 2, memoryBytes: 1024 ** 3 }
const convertLimits: ProgramLimits = { cpuSeconds: 4 * 3_600, memoryBytes: 2 * 1024 ** 3 }
const chunkBytes = 1 * MiB

/**
 * Converts staged data to the configured format. The data is inspected first, and no tool is ever left to guess
 * what it is. qcow2 becomes raw by our own reader, everything else by qemu-img.
 * @throws Unsupported for data that is unsafe, or not what the image says; Invalid when it cannot be converted
 * @see image-api specification 4.7
 */
export async function convertImage(run: PluginRun): Promise<string> {
  const { environment, payload, staged, job, call } = run
  const { staging } = environment
  const target = environment.imports.conversion.outputFormat
  const image = await requireRow(environment.db, payload.imageId)
  const declared = image.disk_format ?? ''
  const inspection = await inspect(staging.read(staged, call))
  const verdict = judge(inspection, declared, {
    nonfatalGptChecks: environment.settings.nonfatalGptChecks,
  })
  if (!verdict.accepted) throw new Unsupported(verdict.message, { details: { reason: verdict.reason } })
  // an ISO is never converted; a disk with a partition table is raw to every tool
  if (declared === 'iso' || declared === target) return staged

  const cap = environment.settings.imageSizeCapBytes
  if (inspection.virtualSizeBytes > cap)
    throw new Invalid('The converted image would be larger than is allowed.')
  if (inspection.virtualSizeBytes > (await staging.freeBytes())) {
    throw new NoCapacity('The staging area has no room for the converted image.')
  }
  await rememberBefore(environment, job, payload.imageId)
  const result = `${payload.imageId}.converted`
  await staging.remove(result) // an earlier run may have died after it was whole
  if (declared === 'qcow2' && target === 'raw') {
    await staging.write(result, qcow2AsRaw(staging.path(staged), call), undefined, call)
  } else {
    await convertByProgram(run, declared, target, result)
  }
  await environment.db
    .updateTable('images')
    .set({ disk_format: target, container_format: 'bare' })
    .where('id', '=', payload.imageId)
    .where('status', '=', 'importing')
    .execute()
  call.log.info({ imageId: payload.imageId, from: declared, to: target }, 'image converted')
  return result
}

async function inspect(source: Bytes) {
  const inspector = new FormatInspector()
  for await (const chunk of source) inspector.push(chunk)
  return inspector.finish()
}

async function* qcow2AsRaw(path: string, call: Call): Bytes {
  await using device = await openQcow2(await FileReader.open(path), call)
  for (let offset = 0; offset < device.sizeBytes; offset += chunkBytes) {
    const chunk = new Uint8Array(Math.min(chunkBytes, device.sizeBytes - offset))
    await device.read(offset, chunk, call)
    yield chunk
  }
}

async function convertByProgram(
  { environment, staged, call }: PluginRun,
  declared: string,
  target: string,
  result: string,
): Promise<void> {
  const { staging } = environment
  const format = qemuNames[declared] ?? declared
  const source = staging.path(staged)
  const info: unknown = JSON.parse(
    await runProgram('qemu-img', ['info', '-f', format, '--output=json', source], infoLimits, call),
  )
  refuseOtherFiles(info)
  const draft = `${result}.draft`
  const output = staging.path(draft)
  await staging.remove(draft)
  try {
    const formats = ['-f', format, '-O', target]
    await runProgram('qemu-img', ['convert', ...formats, source, output], convertLimits, call)
    await staging.move(draft, result)
  } finally {
    await staging.remove(draft)
  }
}

/** Our own inspection has said so already; the tool's own word is asked for all the same. @throws Unsupported */
function refuseOtherFiles(info: unknown): void {
  const text = JSON.stringify(info)
  if (/"(backing-filename|full-backing-filename|data-file)"/.test(text)) {
    throw new Unsupported('The image refers to another file.', { details: { reason: 'unsafe' } })
  }
}
