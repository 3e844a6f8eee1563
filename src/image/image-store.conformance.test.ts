import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ByteRange, Bytes } from '../kernel/bytes.ts'
import type { Call } from '../kernel/call.ts'
import { imageStoreCases, type StoreUnderTest } from './image-store.conformance.ts'
import type { StoredImage } from './image-store.ts'
import { MemoryStore } from './stores/memory.ts'

/** Whether the suite finds fault with a store, and with which of its promises. */
async function failures(makeStore: () => MemoryStore): Promise<readonly string[]> {
  const failed: string[] = []
  for (const each of imageStoreCases) {
    const store = makeStore()
    const subject: StoreUnderTest = {
      store,
      leftovers: async () => store.imageIds,
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    }
    if (each.skip?.(subject) !== undefined) continue
    try {
      await each.run(subject)
      assert.deepEqual(await subject.leftovers(), [])
    } catch {
      failed.push(each.name)
    }
  }
  return failed
}

class Truncates extends MemoryStore {
  override put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    async function* shorter(): Bytes {
      for await (const chunk of data)
        yield chunk.subarray(0, chunk.byteLength - (chunk.byteLength > 1 ? 1 : 0))
    }
    return super.put(imageId, shorter(), sizeBytes, call)
  }
}

class IgnoresRanges extends MemoryStore {
  override get(location: string, _range: ByteRange | undefined, call: Call): Bytes {
    return super.get(location, undefined, call)
  }
}

class IgnoresAbort extends MemoryStore {
  override put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    return super.put(imageId, data, sizeBytes, { ...call, signal: new AbortController().signal })
  }
}

class ComplainsAboutWhatIsGone extends MemoryStore {
  override async delete(location: string): Promise<void> {
    await this.size(location)
    await super.delete(location)
  }
}

class ForgetsToDelete extends MemoryStore {
  override async delete(): Promise<void> {}
}

class Overwrites extends MemoryStore {
  override async put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    await super.delete(`memory://broken/${imageId}`)
    return await super.put(imageId, data, sizeBytes, call)
  }
}

class HidesTheSourcesError extends MemoryStore {
  override put(
    imageId: string,
    data: Bytes,
    sizeBytes: number | undefined,
    call: Call,
  ): Promise<StoredImage> {
    return super.put(imageId, data, sizeBytes, call).catch(() => {
      throw new Error('something went wrong')
    })
  }
}

class ReadsEmptyInsteadOfNotFound extends MemoryStore {
  override async *get(location: string, range: ByteRange | undefined, call: Call): Bytes {
    try {
      yield* super.get(location, range, call)
    } catch {
      // says nothing, as a careless store would
    }
  }
}

const brokenStores: readonly (readonly [new (name: string) => MemoryStore, RegExp])[] = [
  [Truncates, /bytes back as they were put/],
  [IgnoresRanges, /any range/],
  [IgnoresAbort, /put that is aborted/],
  [ComplainsAboutWhatIsGone, /gone already/],
  [ForgetsToDelete, /NotFound/],
  [Overwrites, /twice/],
  [HidesTheSourcesError, /whose source fails/],
  [ReadsEmptyInsteadOfNotFound, /NotFound/],
]

for (const [Broken, expected] of brokenStores) {
  test(`the suite finds fault with a store that ${Broken.name}`, async () => {
    const failed = await failures(() => new Broken('broken'))
    assert.ok(
      failed.some((name) => expected.test(name)),
      `it failed only: ${failed.join('; ')}`,
    )
  })
}

test('the suite finds no fault with a store that keeps the contract', async () => {
  assert.deepEqual(await failures(() => new MemoryStore('sound')), [])
})
