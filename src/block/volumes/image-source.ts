import { Conflict, Forbidden, Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import type { ImageFacts } from '../image-service.ts'
import type { BlockRequest } from '../operation.ts'

const uuid = /[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i

/** The formats of images that can become volumes: ours to read without a tool. */
const readableFormats = ['raw', 'iso', 'qcow2']

/**
 * The image that a request names.
 * @param reference an id, a URL that ends in one, or a name
 * @throws Invalid when there is none that the caller may see; Conflict when several have the name
 */
export async function showImage(block: Block, request: BlockRequest, reference: string): Promise<ImageFacts> {
  const id = uuid.exec(reference)?.[0]
  try {
    if (id === undefined) return await showImageNamed(block, request, reference)
    return await block.images.show(id, request.token, request.signal)
  } catch (error) {
    if (!(error instanceof NotFound) && !(error instanceof Forbidden)) throw error
    throw new Invalid('Invalid image identifier or unable to access requested image.', { cause: error })
  }
}

async function showImageNamed(block: Block, request: BlockRequest, name: string): Promise<ImageFacts> {
  const [image, another] = await block.images.named(name, request.token, request.signal)
  if (image === undefined) throw new NotFound(`No image is called ${name}.`)
  if (another !== undefined) throw new Conflict(`Multiple images have the name ${name}: use an id.`)
  return image
}

/**
 * Whether a volume of that size can be made of an image: what is known before its data is read.
 * @throws Invalid with a sentence that names both numbers
 * @see block-storage-api specification 5.7; cinder/volume/flows/api/create_volume.py
 */
export function checkImage(image: ImageFacts, sizeGib: number): void {
  if (image.status !== 'active') {
    throw new Invalid(
      `Invalid input received: Invalid image: Image ${image.id} is not active, it is ${image.status}.`,
    )
  }
  const check = (bytes: number | undefined, what: string) => {
    const neededGib = Math.ceil((bytes ?? 0) / 1024 ** 3)
    if (neededGib > sizeGib) {
      throw new Invalid(
        `Invalid input received: Size of specified ${what} ${neededGib}GB is larger than volume size ${sizeGib}GB.`,
      )
    }
  }
  check(image.sizeBytes, 'image')
  check(image.virtualSizeBytes, "image's virtual disk")
  if (image.minDiskGib > sizeGib) {
    throw new Invalid(
      `Invalid input received: Volume size ${sizeGib}GB cannot be smaller than the image minDisk size ${image.minDiskGib}GB.`,
    )
  }
  if (image.diskFormat === undefined || !readableFormats.includes(image.diskFormat)) {
    throw new Invalid(
      `Invalid input received: Invalid image: disk format ${image.diskFormat ?? 'none'} cannot be made into a volume; use ${readableFormats.join(', ')}.`,
    )
  }
  if (image.containerFormat !== undefined && image.containerFormat !== 'bare') {
    throw new Invalid(
      `Invalid input received: Invalid image: container format ${image.containerFormat} cannot be made into a volume; use bare.`,
    )
  }
}

/** What a volume remembers of the image that it was made of. @see specification 5.7 */
export function imageMetadataOf(image: ImageFacts): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = { ...image.properties, image_id: image.id }
  const put = (key: string, value: string | number | undefined) => {
    if (value !== undefined) metadata[key] = String(value)
  }
  put('image_name', image.name)
  put('container_format', image.containerFormat)
  put('disk_format', image.diskFormat)
  put('checksum', image.checksum)
  put('min_disk', image.minDiskGib)
  put('min_ram', image.minRamMib)
  put('size', image.sizeBytes)
  return metadata
}
