/**
 * Whether a reported capability satisfies what an extra spec demands.
 * @param capability as the pool reports it; one matching element of a list suffices
 * @param demand for instance `SSD`, `<is> True`, `>= 3`, `<or> a <or> b`
 * @see block-storage-api specification 5.3; cinder/scheduler/filters/extra_specs_ops.py
 */
export function satisfies(capability: unknown, demand: string): boolean {
  if (Array.isArray(capability)) return capability.some((item) => satisfies(item, demand))
  if (capability === undefined || capability === null) return false
  const value = typeof capability === 'boolean' ? (capability ? 'True' : 'False') : String(capability)
  const [operator = '', ...rest] = demand.trim().split(/\s+/)
  const operand = rest.join(' ')
  const compare = operators[operator]
  if (operator === '<or>') {
    const alternatives = demand.split('<or>').map((word) => word.trim())
    return alternatives.some((word) => word !== '' && word === value)
  }
  return compare === undefined ? value === demand : compare(value, operand)
}

type Compare = (value: string, operand: string) => boolean

function numeric(compare: (value: number, operand: number) => boolean): Compare {
  return (value, operand) => {
    const [left, right] = [Number(value), Number(operand)]
    return operand !== '' && !Number.isNaN(left) && !Number.isNaN(right) && compare(left, right)
  }
}

const isTrue = (text: string) => ['true', '1', 'on', 'yes', 'y', 't'].includes(text.toLowerCase())

const operators: Readonly<Record<string, Compare>> = {
  '=': numeric((value, operand) => value >= operand),
  '==': numeric((value, operand) => value === operand),
  '!=': numeric((value, operand) => value !== operand),
  '>=': numeric((value, operand) => value >= operand),
  '<=': numeric((value, operand) => value <= operand),
  's==': (value, operand) => value === operand,
  's!=': (value, operand) => value !== operand,
  's<': (value, operand) => value < operand,
  's<=': (value, operand) => value <= operand,
  's>': (value, operand) => value > operand,
  's>=': (value, operand) => value >= operand,
  '<in>': (value, operand) => value.includes(operand),
  '<is>': (value, operand) => isTrue(value) === isTrue(operand),
}
