import { EntryNotFoundError } from './errors.ts'
import type { Layer, LayerGraph } from './layer-graph.ts'
import { absorbInto, MergeStopped, mergeLayers } from './layer-merge.ts'
import { settleFrozen, settleOpen } from './settle-doubts.ts'
import type { Space } from './space.ts'
import type { ThinVolume } from './thin-volume.ts'

/** Times a busy volume's layer is frozen for a merge in one round, before it is left for the next. */
const MAX_FREEZES = 4

/** What the merges need of the store. */
export interface SpaceReturnHost {
  readonly graph: LayerGraph
  readonly space: Space
  /** Blocks that a writable layer may have for its volume to wait while they are copied. */
  readonly foldBlocks: number
  /** The volumes and snapshots that are open now. */
  opened(): Iterable<ThinVolume>
  /** Runs `operation` with the volume open. */
  holding(id: string, operation: (volume: ThinVolume) => Promise<void>): Promise<void>
  /** Makes the files of a layer known for good. */
  settle(layer: Layer): Promise<void>
  /** Says what went wrong in the background. */
  failed(error: unknown): void
}

/**
 * Gives space back in the background: unlinks layers that nobody needs any more, and merges a layer that only one
 * other needs with that one. Of the two the one with fewer blocks is copied, so that taking and deleting snapshots of a
 * big volume never copies the big layer.
 *
 * Before it merges it settles what a crash has left in doubt, so that a merge moves checksums that can be believed.
 *
 * A merge is not recorded: after a crash the same two layers are found again, and what was copied need not be undone.
 */
export class SpaceReturn {
  readonly #host: SpaceReturnHost
  readonly #freezes = new Map<string, number>()
  #running: Promise<void> | undefined
  #again = false
  #stopped = false

  constructor(host: SpaceReturnHost) {
    this.#host = host
  }

  /** Starts a round, or another one after the present one. */
  start(): void {
    if (this.#stopped) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.#round().finally(() => {
      this.#running = undefined
      if (!this.#again) return
      this.#again = false
      this.start()
    })
  }

  /** Resolves when nothing is left to be done. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  /** Ends the present round at the next block. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.idle()
  }

  async #round(): Promise<void> {
    this.#freezes.clear()
    for (;;) {
      await this.#unlink()
      await this.#settleDoubts()
      const layer = this.#next()
      if (layer === undefined || this.#stopped) return
      this.#host.graph.mergeable.delete(layer)
      try {
        await this.#merge(layer)
      } catch (error) {
        if (error instanceof MergeStopped || error instanceof EntryNotFoundError) {
          // Something else changed the graph; what it left may still want a merge.
          if (this.#onlyChild(layer) !== undefined) this.#host.graph.mergeable.add(layer)
        } else this.#host.failed(error)
      }
    }
  }

  /** Gives blocks their checksums again that a crash has made doubtful. */
  async #settleDoubts(): Promise<void> {
    const { graph } = this.#host
    for (const layer of [...graph.doubtful]) {
      if (this.#stopped) return
      graph.doubtful.delete(layer)
      const { writer } = layer
      const check = (): void => {
        if (this.#stopped || layer.gone || layer.writer !== writer) throw new MergeStopped()
      }
      try {
        if (writer === undefined) await settleFrozen(layer, check)
        else await this.#host.holding(writer.id, (volume) => settleOpen(volume, layer, check))
      } catch (error) {
        if (error instanceof MergeStopped && !layer.gone) graph.doubtful.add(layer)
        else if (!(error instanceof MergeStopped || error instanceof EntryNotFoundError))
          this.#host.failed(error)
      }
    }
  }

  /** The lowest first: a layer that was frozen for a merge must go down, not up again. */
  #next(): Layer | undefined {
    const { mergeable } = this.#host.graph
    let [layer] = mergeable
    while (layer?.parent !== undefined && mergeable.has(layer.parent)) layer = layer.parent
    return layer
  }

  async #unlink(): Promise<void> {
    for (
      let layer = this.#host.graph.doomed.pop();
      layer !== undefined;
      layer = this.#host.graph.doomed.pop()
    ) {
      try {
        await layer.files.unlink()
      } catch (error) {
        // The next start finds the files without a row, and tries again.
        this.#host.failed(error)
      }
    }
  }

  /** @returns the only layer that needs `parent`; undefined when it has a name, or several need it */
  #onlyChild(parent: Layer): Layer | undefined {
    if (parent.gone || parent.entries.size > 0 || parent.children.size !== 1) return undefined
    return [...parent.children][0]
  }

  async #merge(parent: Layer): Promise<void> {
    const child = this.#onlyChild(parent)
    if (child === undefined) return
    const check = (): void => {
      if (this.#stopped || child.gone || this.#onlyChild(parent) !== child) throw new MergeStopped()
    }
    const { writer } = child
    const common = { bottom: parent.parent === undefined, space: this.#host.space, check }
    if (writer === undefined) {
      const fold = child.files.blank || (!parent.files.blank && child.usedBlocks < parent.usedBlocks)
      const [target, source] = fold ? [parent, child] : [child, parent]
      await mergeLayers({ ...common, target, source, overwrite: fold })
      await this.#replace(source, target, check)
      return
    }
    await this.#host.holding(writer.id, async (volume) => {
      const alone = (): void => {
        check()
        if (writer.layer !== child) throw new MergeStopped()
      }
      if (!parent.files.blank && child.usedBlocks <= this.#host.foldBlocks) {
        await volume.exclusive(async () => {
          alone()
          await volume.flushAlone()
          await mergeLayers({ ...common, check: alone, target: parent, source: child, overwrite: true })
          if (!parent.written && !parent.files.blank) await this.#host.settle(parent)
          this.#host.graph.replace(child, parent)
          volume.reload()
        })
      } else if (parent.files.blank || parent.usedBlocks <= child.usedBlocks) {
        await absorbInto(volume, { ...common, check: alone, target: child, source: parent })
        await volume.exclusive(async () => {
          alone()
          await volume.flushAlone()
          this.#host.graph.replace(parent, child)
          volume.index.replace(parent, child)
        })
      } else {
        const freezes = this.#freezes.get(writer.id) ?? 0
        if (freezes >= MAX_FREEZES) return
        this.#freezes.set(writer.id, freezes + 1)
        await volume.exclusive(async () => {
          alone()
          await volume.flushAlone()
          this.#host.graph.freeze(writer)
          volume.pushTop()
        })
      }
    })
  }

  async #replace(dropped: Layer, keeper: Layer, check: () => void): Promise<void> {
    if (!keeper.written && !keeper.files.blank) await this.#host.settle(keeper)
    check()
    this.#host.graph.replace(dropped, keeper)
    for (const volume of [...this.#host.opened()]) {
      if (!volume.uses(dropped)) continue
      await volume.exclusive(() => {
        if (volume.uses(dropped)) volume.index.replace(dropped, keeper)
      })
    }
  }
}
