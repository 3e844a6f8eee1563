import { readFileSync } from 'node:fs'
import { parseIni } from '../kernel/config/ini.ts'
import { Misconfigured, messageOf } from '../kernel/errors.ts'
import type { Identity } from '../kernel/http/request-context.ts'
import type { Policy } from './policy.ts'

const operations = ['create', 'read', 'update', 'delete'] as const
export type PropertyOperation = (typeof operations)[number]

type Check = (identity: Identity, policy: Policy) => boolean

interface Section {
  readonly pattern: RegExp
  readonly checks: Readonly<Record<PropertyOperation, Check>>
}

/**
 * Who may do what with which custom property. The first section whose pattern is found in a property's name
 * decides; a name that no section knows is nobody's. Without a file everybody may do everything.
 * @see image-api specification 7.5
 */
export class PropertyProtections {
  readonly #sections: readonly Section[] | undefined
  readonly #policy: Policy

  /** @throws Misconfigured for a file that cannot be read, or that lacks a rule */
  constructor(options: { file: string | undefined; format: 'roles' | 'policies'; policy: Policy }) {
    this.#policy = options.policy
    this.#sections = options.file === undefined ? undefined : readSections(options.file, options.format)
  }

  allows(operation: PropertyOperation, name: string, identity: Identity): boolean {
    if (this.#sections === undefined || name.startsWith('os_glance')) return true // our own books
    const section = this.#sections.find(({ pattern }) => pattern.test(name))
    return section?.checks[operation](identity, this.#policy) ?? false
  }

  /** The properties that the caller may read. */
  readable<Value>(
    properties: Readonly<Record<string, Value>>,
    identity: Identity,
  ): Readonly<Record<string, Value>> {
    if (this.#sections === undefined) return properties
    return Object.fromEntries(
      Object.entries(properties).filter(([name]) => this.allows('read', name, identity)),
    )
  }
}

function readSections(file: string, format: 'roles' | 'policies'): readonly Section[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw wrong(file, `cannot be read: ${messageOf(error)}`)
  }
  const parsed = parseIni(text, file)
  const [problem] = parsed.problems
  if (problem !== undefined) throw wrong(file, `line ${problem.line}: ${problem.message}`)
  return parsed.sections.map(({ name }) => {
    let pattern: RegExp
    try {
      pattern = new RegExp(name)
    } catch (error) {
      throw wrong(file, `[${name}] is no regular expression: ${messageOf(error)}`)
    }
    const checkOf = (operation: PropertyOperation): Check => {
      const entry = parsed.entries.findLast(
        (candidate) => candidate.section === name && candidate.name === operation,
      )
      if (entry === undefined) throw wrong(file, `[${name}] lacks '${operation}'`)
      return format === 'roles' ? roleCheck(file, name, entry.value) : policyCheck(file, name, entry.value)
    }
    const [create, read, update, remove] = operations.map(checkOf)
    const nobody: Check = () => false
    return {
      pattern,
      checks: {
        create: create ?? nobody,
        read: read ?? nobody,
        update: update ?? nobody,
        delete: remove ?? nobody,
      },
    }
  })
}

/** `admin,member`, `@` for everybody, `!` for nobody. */
function roleCheck(file: string, section: string, value: string): Check {
  const roles = value
    .split(',')
    .map((role) => role.trim().toLowerCase())
    .filter((role) => role !== '')
  if (roles.includes('@') && roles.includes('!')) {
    throw wrong(file, `[${section}] says everybody (@) and nobody (!) at once`)
  }
  if (roles.includes('@')) return () => true
  if (roles.includes('!')) return () => false
  return (identity) => identity.roles.some((role) => roles.includes(role))
}

/** The name of one policy rule. */
function policyCheck(file: string, section: string, value: string): Check {
  const rule = value.trim()
  if (rule === '@') return () => true
  if (rule === '!' || rule === '') return () => false
  if (rule.includes(',')) throw wrong(file, `[${section}] names more than one policy rule`)
  return (identity, policy) => policy.allowsOperatorRule(rule, identity)
}

function wrong(file: string, problem: string): Misconfigured {
  return new Misconfigured(`[DEFAULT] property_protection_file: ${file} ${problem}.`, {
    details: { option: 'property_protection_file' },
  })
}
