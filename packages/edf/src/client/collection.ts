import type { Static, TSchema } from 'typebox'
import { dataOf, expectShape } from './answer.ts'
import { EdfConflict, EdfNotFound, EdfProtocol } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import type { EdfRequest } from './requester.ts'

/** Who sends the requests of a scope: everything but the tenant, which the scope adds. */
export interface Sender {
  send(request: Omit<EdfRequest, 'tenant'>, call: EdfCall): Promise<unknown>
}

/** What to list, and in which order. The array does both. */
export interface ListOptions {
  /** `match(name,.*abc.*)`, see `containing`. */
  readonly filter?: string
  /** Attribute; a leading `-` sorts downward. */
  readonly sort?: string
}

/** Items asked for at once; the array's greatest page has 1000. */
const pageSize = 500

/** What all objects of one kind have in common: the shapes of reading, creating and updating. */
export interface Kind<Entity extends TSchema, Create extends TSchema, Update extends TSchema> {
  readonly entity: Entity
  readonly create: Create
  readonly update: Update
  /** Attributes of a create request by which the new object can be found again: the first present one. */
  readonly keys: readonly string[]
}

/** `/app_instances`, `…/volumes` and so on: the same verbs on every collection. */
export class Collection<Entity extends TSchema, Create extends TSchema, Update extends TSchema> {
  readonly path: string
  readonly #kind: Kind<Entity, Create, Update>
  readonly #sender: Sender

  constructor(kind: Kind<Entity, Create, Update>, path: string, sender: Sender) {
    this.#kind = kind
    this.path = path
    this.#sender = sender
  }

  /** All of them, page after page. Objects that appear or vanish meanwhile may be missed. */
  async *iterate(options: ListOptions, call: EdfCall): AsyncGenerator<Static<Entity>, void, undefined> {
    const seen = new Set<string>()
    let offset = 0
    for (;;) {
      const query = { ...options, limit: pageSize, ...(offset === 0 ? {} : { offset }) }
      const body = await this.#sender.send({ method: 'GET', path: this.path, query }, call)
      const items = dataOf(body, this.path)
      if (!Array.isArray(items)) {
        throw new EdfProtocol(`the array's answer to ${this.path} is not a list`, { path: this.path })
      }
      for (const item of items) {
        const key = pathOf(item)
        if (key !== undefined && seen.has(key)) continue
        if (key !== undefined) seen.add(key)
        yield expectShape(this.#kind.entity, item, this.path)
      }
      const { total, limit } = pagingOf(body)
      // Without paging metadata (v2.1) the answer is complete. Some products count before they filter: an empty
      // page is then no end, the offset past the total is.
      if (total === undefined || limit === undefined || limit <= 0) return
      offset += limit
      if (offset >= total) return
    }
  }

  async list(options: ListOptions, call: EdfCall): Promise<Static<Entity>[]> {
    const items: Static<Entity>[] = []
    for await (const item of this.iterate(options, call)) items.push(item)
    return items
  }

  /** @param id name, id or whole path @throws EdfNotFound */
  async get(id: string, call: EdfCall): Promise<Static<Entity>> {
    const path = this.pathOf(id)
    return this.#entity(await this.#sender.send({ method: 'GET', path }, call), path)
  }

  /** The object, or `undefined` when there is none. */
  async find(id: string, call: EdfCall): Promise<Static<Entity> | undefined> {
    return await absentIfNotFound(this.get(id, call))
  }

  /**
   * Makes an object. When the answer is lost and the repetition meets a conflict, the first attempt has succeeded:
   * the object is read back.
   * @throws EdfConflict when it existed before; EdfInvalid
   */
  async create(body: Static<Create>, call: EdfCall): Promise<Static<Entity>> {
    const key = this.#keyOf(body)
    const path = this.path
    const readBack =
      key === undefined
        ? undefined
        : async (error: unknown) =>
            error instanceof EdfConflict ? await this.#readBack(key.name, key.value, call) : undefined
    return this.#entity(await this.#sender.send({ method: 'POST', path, body, readBack }, call), path)
  }

  /** Changes what `body` names and leaves the rest. @throws EdfNotFound, EdfInvalid */
  async update(id: string, body: Static<Update>, call: EdfCall): Promise<Static<Entity>> {
    const path = this.pathOf(id)
    return this.#entity(await this.#sender.send({ method: 'PUT', path, body }, call), path)
  }

  /** @throws EdfNotFound, EdfInvalid */
  async delete(id: string, options: { force?: boolean }, call: EdfCall): Promise<void> {
    const path = this.pathOf(id)
    const readBack = async (error: unknown) => (error instanceof EdfConflict ? undefined : {})
    await this.#sender.send({ method: 'DELETE', path, body: options, readBack }, call)
  }

  /** The path of one object of this collection. */
  pathOf(id: string): string {
    return id.startsWith('/') ? id : `${this.path}/${encodeSegment(id)}`
  }

  #entity(body: unknown, path: string): Static<Entity> {
    return expectShape(this.#kind.entity, dataOf(body, path), path)
  }

  /** By its name in the URL, else by looking through all: not every array resolves every attribute in a URL. */
  async #readBack(name: string, value: string, call: EdfCall): Promise<unknown> {
    const direct = await this.find(value, call)
    if (direct !== undefined) return { data: direct }
    for await (const item of this.iterate({}, call)) {
      if (typeof item === 'object' && item !== null && Reflect.get(item, name) === value)
        return { data: item }
    }
    return undefined
  }

  #keyOf(body: unknown): { name: string; value: string } | undefined {
    if (typeof body !== 'object' || body === null) return undefined
    for (const name of this.#kind.keys) {
      const value: unknown = Reflect.get(body, name)
      if (typeof value === 'string' && value !== '') return { name, value }
    }
    return undefined
  }
}

/** Colons stay as they are: arrays expect IQNs unescaped. */
export function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replaceAll('%3A', ':')
}

/** Turns "not found" into `undefined`. */
export async function absentIfNotFound<Value>(promise: Promise<Value>): Promise<Value | undefined> {
  try {
    return await promise
  } catch (error) {
    if (error instanceof EdfNotFound) return undefined
    throw error
  }
}

function pathOf(item: unknown): string | undefined {
  const path: unknown = typeof item === 'object' && item !== null ? Reflect.get(item, 'path') : undefined
  return typeof path === 'string' ? path : undefined
}

function pagingOf(body: unknown): { total: number | undefined; limit: number | undefined } {
  const metadata: unknown =
    typeof body === 'object' && body !== null ? Reflect.get(body, 'metadata') : undefined
  const number = (key: string): number | undefined => {
    const value: unknown =
      typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, key) : undefined
    return typeof value === 'number' ? value : undefined
  }
  return { total: number('total_count'), limit: number('limit') }
}
