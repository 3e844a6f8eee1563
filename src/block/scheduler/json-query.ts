import { Invalid } from '../../kernel/errors.ts'

type Compare = (left: unknown, right: unknown) => boolean

const numeric =
  (compare: (left: number, right: number) => boolean): Compare =>
  (left, right) =>
    typeof left === 'number' && typeof right === 'number' && compare(left, right)

const comparisons: Readonly<Record<string, Compare>> = {
  '=': (left, right) => left === right,
  '<': numeric((left, right) => left < right),
  '>': numeric((left, right) => left > right),
  '<=': numeric((left, right) => left <= right),
  '>=': numeric((left, right) => left >= right),
}

/**
 * Whether a pool answers the `query` hint of the JsonFilter, for instance `[">=", "$free_capacity_gb", 100]`.
 * @param query JSON text; `$name` is what the pool reports
 * @throws Invalid when it cannot be read
 * @see cinder/scheduler/filters/json_filter (oslo scheduler filters)
 */
export function answersQuery(query: string, reported: Readonly<Record<string, unknown>>): boolean {
  let parsed: unknown
  try {
    parsed = JSON.parse(query)
  } catch {
    throw new Invalid(`The scheduler hint query is not JSON: ${query}`)
  }
  return isTrue(parsed)

  function isTrue(part: unknown): boolean {
    if (!Array.isArray(part)) return part === true
    const [operator, ...operands] = part as readonly unknown[]
    if (operator === 'and') return operands.every(isTrue)
    if (operator === 'or') return operands.some(isTrue)
    if (operator === 'not') return !operands.some(isTrue)
    const [left, ...right] = operands.map(operandValue)
    if (operator === 'in') return right.some((value) => value === left)
    const compare = typeof operator === 'string' ? comparisons[operator] : undefined
    if (compare === undefined) throw new Invalid(`The scheduler hint query has no operator '${operator}'.`)
    return right.length > 0 && right.every((value) => compare(left, value))
  }

  function operandValue(operand: unknown): unknown {
    if (typeof operand !== 'string' || !operand.startsWith('$')) return operand
    let value: unknown = reported
    for (const name of operand.slice(1).split('.')) {
      value =
        typeof value === 'object' && value !== null && Object.hasOwn(value, name)
          ? (value as Record<string, unknown>)[name] // it has the name: checked on the line above
          : undefined
    }
    return value
  }
}
