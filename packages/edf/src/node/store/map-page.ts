/*
 * One page of a layer's block map, as it lies in the layer's `.map` file.
 *
 * A page describes 16128 blocks of 4 KiB (63 MiB of the volume) and has two slots of 4 KiB, one after the other. A
 * flush writes the older slot; a torn write is found by its checksum and the other slot, which is the last durable
 * state, holds. Slots never share a sector, so that a torn write of one cannot damage the other.
 *
 *   byte  0  u32  magic "EGMP" ("EGSM" in the `.sums` file, see `layer-sums.ts`)
 *   byte  4  u32  CRC-32 of bytes 8 … 4095
 *   byte  8  u64  number of the layer
 *   byte 16  u32  number of the page
 *   byte 20  u32  format version, 1
 *   byte 24  u64  sequence: the slot with the higher one is the newer
 *   byte 64       4032 bytes: two bits for each block, lowest bits first (1008 checksums in the `.sums` file)
 *
 * All numbers are little-endian. The checksum is zlib's CRC-32, which Node has natively.
 */
import { crc32 } from 'node:zlib'

/** Bytes of a block, the unit of mapping. */
export const BLOCK_BYTES = 4096
/** Blocks that one page describes. */
export const BLOCKS_PER_PAGE = 16128
/** Bytes of a page's states: two bits for each block. */
export const STATE_BYTES = BLOCKS_PER_PAGE / 4
/** Bytes of one slot. */
export const SLOT_BYTES = 4096
/** Bytes of a page in the file: two slots. */
export const PAGE_BYTES = 2 * SLOT_BYTES

/** The layer says nothing about the block: look below. */
export const BELOW = 0
/** The layer's data file holds the block, at the block's own offset. */
export const DATA = 1
/** The block is zeroes, whatever lies below. */
export const ZERO = 2

const VERSION = 1
const HEADER_BYTES = SLOT_BYTES - STATE_BYTES
const EMPTY_SLOT = Buffer.alloc(SLOT_BYTES)

/** What a page's file holds, as the number its slots begin with: block maps ("EGMP"), or checksums ("EGSM"). */
export const PageKind = { map: 0x504d4745, sums: 0x4d534745 } as const
export type PageKind = (typeof PageKind)[keyof typeof PageKind]

/** A page as read: `states` is undefined when nothing was ever written to it. */
export interface MapPage {
  readonly states: Uint8Array | undefined
  readonly sequence: number
  /** The slot that holds `states`: the next write goes to the other one. */
  readonly slot: 0 | 1
  /** Slots that hold something else than a valid page: 1 after a crash in the middle of a flush. */
  readonly badSlots: number
}

/** The page that was never written. */
export const EMPTY_PAGE: MapPage = { states: undefined, sequence: 0, slot: 1, badSlots: 0 }

/** Builds the bytes of one slot. `states` is copied. */
export function encodeSlot(
  layer: number,
  page: number,
  sequence: number,
  states: Uint8Array,
  kind: PageKind = PageKind.map,
): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES)
  slot.writeUInt32LE(kind, 0)
  slot.writeBigUInt64LE(BigInt(layer), 8)
  slot.writeUInt32LE(page, 16)
  slot.writeUInt32LE(VERSION, 20)
  slot.writeBigUInt64LE(BigInt(sequence), 24)
  slot.set(states, HEADER_BYTES)
  slot.writeUInt32LE(crc32(slot.subarray(8)), 4)
  return slot
}

function slotSequence(slot: Buffer, layer: number, page: number, kind: PageKind): number | 'empty' | 'bad' {
  const magic = slot.readUInt32LE(0)
  if (magic !== kind) return slot.equals(EMPTY_SLOT) ? 'empty' : 'bad'
  if (crc32(slot.subarray(8)) !== slot.readUInt32LE(4)) return 'bad'
  if (slot.readBigUInt64LE(8) !== BigInt(layer) || slot.readUInt32LE(16) !== page) return 'bad'
  if (slot.readUInt32LE(20) !== VERSION) return 'bad'
  return Number(slot.readBigUInt64LE(24))
}

/**
 * Reads a page of two slots and takes the newer valid one. A bad slot beside an empty one is a first flush that was
 * torn, so never acknowledged: the page is empty. Two bad slots cannot come from a crash.
 * @param bytes `PAGE_BYTES`; the answer's `states` is a copy
 * @returns undefined when both slots are bad
 */
export function decodePage(
  bytes: Buffer,
  layer: number,
  page: number,
  kind: PageKind = PageKind.map,
): MapPage | undefined {
  const slots = [bytes.subarray(0, SLOT_BYTES), bytes.subarray(SLOT_BYTES, PAGE_BYTES)] as const
  const first = slotSequence(slots[0], layer, page, kind)
  const second = slotSequence(slots[1], layer, page, kind)
  const badSlots = Number(first === 'bad') + Number(second === 'bad')
  if (badSlots === 2) return undefined
  if (typeof first !== 'number' && typeof second !== 'number') {
    return { ...EMPTY_PAGE, slot: first === 'bad' ? 1 : 0, badSlots }
  }
  const slot = typeof second === 'number' && (typeof first !== 'number' || second > first) ? 1 : 0
  const sequence = slot === 0 ? first : second
  if (typeof sequence !== 'number') return undefined
  return { states: Uint8Array.from(slots[slot].subarray(HEADER_BYTES)), sequence, slot, badSlots }
}

/** @returns what a page's states say about its block number `block` (0 … BLOCKS_PER_PAGE - 1) */
export function stateOf(states: Uint8Array, block: number): number {
  return ((states[block >> 2] ?? 0) >> ((block & 3) << 1)) & 3
}

/** Sets the state of one block of a page. */
export function setState(states: Uint8Array, block: number, state: number): void {
  const byte = block >> 2
  const shift = (block & 3) << 1
  states[byte] = ((states[byte] ?? 0) & ~(3 << shift)) | (state << shift)
}

/** Counts the blocks of a page that lie in the layer's data file. */
export function countData(states: Uint8Array): number {
  let count = 0
  for (const byte of states) {
    if (byte === 0) continue
    // The low bit of a pair is set in DATA alone, so counting low bits counts blocks.
    const low = byte & 0x55
    count += (low & 1) + ((low >> 2) & 1) + ((low >> 4) & 1) + (low >> 6)
  }
  return count
}

/** Finds a state that no writer makes (the unused fourth value). */
export function hasUnknownState(states: Uint8Array): boolean {
  return states.some((byte) => (byte & (byte >> 1) & 0x55) !== 0)
}
