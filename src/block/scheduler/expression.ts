import { Invalid } from '../../kernel/errors.ts'

/** What the names in an expression stand for: `stats.free_capacity_gb` is `free_capacity_gb` of `stats`. */
export type ExpressionScope = Readonly<Record<string, Readonly<Record<string, unknown>>>>

type Value = number | boolean | string

const tokenPattern =
  /\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|'[^']*'|"[^"]*"|[A-Za-z_][\w.:-]*|<=|>=|==|!=|<>|&&|\|\||[-+*/^()<>?:,!])/y

/** From loosest to tightest. Each level reads the one below it on both sides. */
const levels: readonly (readonly string[])[] = [
  ['or', '||'],
  ['and', '&&'],
  ['<', '<=', '>', '>=', '==', '!=', '<>'],
  ['+', '-'],
  ['*', '/'],
]

const functions: Readonly<Record<string, (...values: number[]) => number>> = {
  abs: (value = Number.NaN) => Math.abs(value),
  max: Math.max,
  min: Math.min,
}

/**
 * The value of a `filter_function` or `goodness_function`: numbers, text in quotes, names, arithmetic
 * (`+ - * / ^`), comparisons, `and or not`, `condition ? this : that`, `abs max min`.
 * @throws Invalid for what cannot be read, an unknown name, or arithmetic with what is no number
 * @see block-storage-api specification 5.3; cinder/scheduler/evaluator
 */
export function evaluate(expression: string, scope: ExpressionScope): Value {
  return new Reader(tokensOf(expression), scope).whole()
}

function tokensOf(expression: string): readonly string[] {
  const tokens: string[] = []
  const text = expression.trim()
  tokenPattern.lastIndex = 0
  while (tokenPattern.lastIndex < text.length) {
    const [, token] = tokenPattern.exec(text) ?? []
    if (token === undefined) throw new Invalid(`The expression '${expression}' cannot be read.`)
    tokens.push(token)
  }
  return tokens
}

class Reader {
  readonly #tokens: readonly string[]
  readonly #scope: ExpressionScope
  #position = 0

  constructor(tokens: readonly string[], scope: ExpressionScope) {
    this.#tokens = tokens
    this.#scope = scope
  }

  whole(): Value {
    const value = this.#conditional()
    if (this.#position < this.#tokens.length) throw new Invalid(`Unexpected '${this.#next()}'.`)
    return value
  }

  #next(): string | undefined {
    return this.#tokens[this.#position]
  }

  #take(...wanted: readonly string[]): string | undefined {
    const token = this.#next()
    if (token === undefined || !wanted.includes(token.toLowerCase())) return undefined
    this.#position += 1
    return token.toLowerCase()
  }

  #expect(wanted: string): void {
    if (this.#take(wanted) === undefined) throw new Invalid(`Expected '${wanted}'.`)
  }

  #conditional(): Value {
    const condition = this.#binary(0)
    if (this.#take('?') === undefined) return condition
    const whenTrue = this.#conditional()
    this.#expect(':')
    const whenFalse = this.#conditional()
    return isTrue(condition) ? whenTrue : whenFalse
  }

  #binary(level: number): Value {
    const operators = levels[level]
    if (operators === undefined) return this.#unary()
    let left = this.#binary(level + 1)
    for (;;) {
      const operator = this.#take(...operators)
      if (operator === undefined) return left
      left = apply(operator, left, this.#binary(level + 1))
    }
  }

  #unary(): Value {
    const operator = this.#take('-', '+', 'not', '!')
    if (operator === undefined) return this.#power()
    const value = this.#unary()
    if (operator === 'not' || operator === '!') return !isTrue(value)
    return operator === '-' ? -numberOf(value) : numberOf(value)
  }

  #power(): Value {
    const base = this.#operand()
    return this.#take('^') === undefined ? base : numberOf(base) ** numberOf(this.#unary())
  }

  #operand(): Value {
    const token = this.#next()
    if (token === undefined) throw new Invalid('The expression ends too early.')
    this.#position += 1
    if (token === '(') {
      const value = this.#conditional()
      this.#expect(')')
      return value
    }
    if (/^\d/.test(token)) return Number(token)
    if (/^['"]/.test(token)) return token.slice(1, -1)
    const call = Object.hasOwn(functions, token) ? functions[token] : undefined
    if (call !== undefined && this.#take('(') !== undefined) return call(...this.#arguments())
    return this.#named(token)
  }

  #arguments(): number[] {
    const values = [numberOf(this.#conditional())]
    while (this.#take(',') !== undefined) values.push(numberOf(this.#conditional()))
    this.#expect(')')
    return values
  }

  #named(name: string): Value {
    const dot = name.indexOf('.')
    const group = this.#scope[name.slice(0, dot)]
    const key = name.slice(dot + 1)
    const value = dot > 0 && group !== undefined && Object.hasOwn(group, key) ? group[key] : undefined
    if (typeof value === 'number' || typeof value === 'boolean') return value
    if (typeof value === 'string') return value !== '' && !Number.isNaN(Number(value)) ? Number(value) : value
    throw new Invalid(`The name '${name}' stands for nothing.`)
  }
}

function apply(operator: string, left: Value, right: Value): Value {
  switch (operator) {
    case 'or':
    case '||':
      return isTrue(left) || isTrue(right)
    case 'and':
    case '&&':
      return isTrue(left) && isTrue(right)
    case '==':
      return left === right
    case '!=':
    case '<>':
      return left !== right
    case '<':
      return numberOf(left) < numberOf(right)
    case '<=':
      return numberOf(left) <= numberOf(right)
    case '>':
      return numberOf(left) > numberOf(right)
    case '>=':
      return numberOf(left) >= numberOf(right)
    case '+':
      return numberOf(left) + numberOf(right)
    case '-':
      return numberOf(left) - numberOf(right)
    case '*':
      return numberOf(left) * numberOf(right)
    default: {
      const divisor = numberOf(right)
      if (divisor === 0) throw new Invalid('Division by zero.')
      return numberOf(left) / divisor
    }
  }
}

const isTrue = (value: Value): boolean => value !== false && value !== 0 && value !== ''

/** True counts as 1, as in Python: `(volume.size < 5) * 100`. */
function numberOf(value: Value): number {
  const number = Number(value)
  if (typeof value === 'string' || Number.isNaN(number)) throw new Invalid(`'${value}' is not a number.`)
  return number
}
