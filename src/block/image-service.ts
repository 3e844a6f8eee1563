import type { BlockDevice } from '@emberglass/iscsi/device'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'

/** What the block storage service has to know of an image. */
export interface ImageFacts {
  readonly id: string
  readonly name: string | undefined
  /** `queued`, `saving`, `active`, `deactivated`… */
  readonly status: string
  readonly visibility: string
  readonly ownerProjectId: string | undefined
  /** Bytes of the stored data. */
  readonly sizeBytes: number | undefined
  /** Bytes of the disk inside. */
  readonly virtualSizeBytes: number | undefined
  readonly diskFormat: string | undefined
  readonly containerFormat: string | undefined
  readonly minDiskGib: number
  readonly minRamMib: number
  /** MD5, hexadecimal. */
  readonly checksum: string | undefined
  readonly osHashAlgo: string | undefined
  readonly osHashValue: string | undefined
  /** URIs of its data, `datera://…`, `rbd://…`; empty when the Image API hides them. */
  readonly locations: readonly string[]
  /** All other properties that are text, protected ones included. */
  readonly properties: Readonly<Record<string, string>>
}

/** What the block storage service needs of images; filled with a client of the Image API. */
export interface ImageService {
  /**
   * The image as the caller sees it.
   * @param token the caller's; undefined asks as the service itself
   * @throws NotFound, Forbidden
   */
  show(imageId: string, token: string | undefined, signal: AbortSignal): Promise<ImageFacts>
  /** Images of that name that the caller sees: at most two, which is enough to know that it is not clear. */
  named(name: string, token: string | undefined, signal: AbortSignal): Promise<readonly ImageFacts[]>
  /** Projects that a shared image was offered to and that took it; none when the service may not list them. */
  acceptedBy(imageId: string, signal: AbortSignal): Promise<readonly string[]>
  /**
   * Random, ranged reads of the image's stored bytes, as the service itself. `sizeBytes` is rounded up to
   * `blockSize`; the tail reads as zeroes.
   */
  open(imageId: string, call: Call): Promise<BlockDevice>
  download(imageId: string, range: ByteRange | undefined, call: Call): Bytes
  /** Makes an image without data. @param image attributes and properties, spelt as on the wire */
  create(
    image: Readonly<Record<string, string | number | boolean>>,
    token: string | undefined,
    signal: AbortSignal,
  ): Promise<ImageFacts>
  /** Sends an image's data, as the service itself unless there is a token. */
  upload(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    token: string | undefined,
    call: Call,
  ): Promise<void>
  /** Already gone: fine. */
  delete(imageId: string, token: string | undefined, signal: AbortSignal): Promise<void>
}
