import { Misconfigured } from '../errors.ts'
import type { Identity } from '../http/request-context.ts'

/** What a rule looks at besides the caller. */
export type PolicyTarget = Readonly<Record<string, string | null | undefined>>

type Check = (identity: Identity, target: PolicyTarget, rules: PolicyRules) => boolean

/** Deep enough for every real rule, and an end for those that name themselves. */
const maxDepth = 20

/**
 * A set of oslo.policy rules: `role:`, `rule:`, attributes of the caller, literals, `and`, `or`, `not`, `@`, `!`,
 * parentheses. `%(name)s` is an attribute of the target. An empty rule lets everybody pass.
 * @see https://docs.openstack.org/oslo.policy/latest/reference/api/oslo_policy.policy.html
 */
export class PolicyRules {
  readonly #checks: ReadonlyMap<string, Check>
  #depth = 0

  /** @throws Misconfigured for a rule that cannot be read */
  constructor(rules: Readonly<Record<string, string>>) {
    this.#checks = new Map(Object.entries(rules).map(([name, rule]) => [name, parse(name, rule)]))
  }

  has(name: string): boolean {
    return this.#checks.has(name)
  }

  /** An unknown rule falls back to the one called `default`; without that, nobody passes. */
  check(name: string, identity: Identity, target: PolicyTarget): boolean {
    const check = this.#checks.get(name) ?? this.#checks.get('default')
    if (check === undefined || this.#depth >= maxDepth) return false
    this.#depth += 1
    try {
      return check(identity, target, this)
    } finally {
      this.#depth -= 1
    }
  }
}

const tokenPattern = /\s*(\(|\)|(?:'[^']*'|"[^"]*"):(?:%\([\w.]+\)s|[^\s()])+|(?:%\([\w.]+\)s|[^\s()])+)/y

function parse(name: string, rule: string): Check {
  const tokens = tokensOf(name, rule)
  let position = 0
  const wrong = () =>
    new Misconfigured(`The policy rule ${name} cannot be read: '${rule}'.`, { details: { rule: name } })

  const either = (): Check => {
    const checks = [all()]
    while (tokens[position]?.toLowerCase() === 'or') {
      position += 1
      checks.push(all())
    }
    return checks[1] === undefined
      ? (checks[0] ?? deny)
      : (...caller) => checks.some((check) => check(...caller))
  }
  const all = (): Check => {
    const checks = [single()]
    while (tokens[position]?.toLowerCase() === 'and') {
      position += 1
      checks.push(single())
    }
    return checks[1] === undefined
      ? (checks[0] ?? deny)
      : (...caller) => checks.every((check) => check(...caller))
  }
  const single = (): Check => {
    const token = tokens[position]
    position += 1
    if (token === undefined || token === ')') throw wrong()
    if (token.toLowerCase() === 'not') {
      const check = single()
      return (...caller) => !check(...caller)
    }
    if (token === '(') {
      const check = either()
      if (tokens[position] !== ')') throw wrong()
      position += 1
      return check
    }
    return leaf(token, wrong)
  }

  if (tokens.length === 0) return allow
  const check = either()
  if (position !== tokens.length) throw wrong()
  return check
}

function tokensOf(name: string, rule: string): string[] {
  const tokens: string[] = []
  const text = rule.trim()
  tokenPattern.lastIndex = 0
  while (tokenPattern.lastIndex < text.length) {
    const match = tokenPattern.exec(text)
    if (match?.[1] === undefined) {
      throw new Misconfigured(`The policy rule ${name} cannot be read: '${rule}'.`, {
        details: { rule: name },
      })
    }
    tokens.push(match[1])
  }
  return tokens
}

const allow: Check = () => true
const deny: Check = () => false

function leaf(token: string, wrong: () => Misconfigured): Check {
  if (token === '@') return allow
  if (token === '!') return deny
  const quote = /^['"]/.exec(token)?.[0]
  const colon = token.indexOf(':', quote === undefined ? 0 : token.indexOf(quote, 1))
  if (colon < 0) throw wrong()
  const kind = token.slice(0, colon)
  const match = token.slice(colon + 1)
  if (kind === 'rule') return (identity, target, rules) => rules.check(match, identity, target)
  if (kind === 'http' || kind === 'https') throw wrong() // asking another server is not supported
  const expected = expectedBy(match)
  if (kind === 'role') {
    return (identity, target) => {
      const role = expected(target)?.toLowerCase()
      return role !== undefined && identity.roles.includes(role)
    }
  }
  const literal = quote === undefined ? literals.exec(kind)?.[0] : kind.slice(1, -1)
  if (literal !== undefined) return (_identity, target) => expected(target) === literal
  if (kind === 'is_admin') {
    return (identity, target, rules) => expected(target) === (isAdmin(identity, rules) ? 'True' : 'False')
  }
  return (identity, target) => {
    const value = attributeOf(identity, kind)
    return value !== undefined && value === expected(target)
  }
}

/** Values of the language itself on the left side. */
const literals = /^(True|False|None|\d+)$/

/** `%(name)s` is an attribute of the target, anything else stands for itself. */
function expectedBy(match: string): (target: PolicyTarget) => string | undefined {
  const name = /^%\(([\w.]+)\)s$/.exec(match)?.[1]
  if (name === undefined) return () => match
  return (target) => target[name] ?? undefined
}

/** Whether the caller counts as an administrator: the rule `context_is_admin`, by default the role `admin`. */
export function isAdmin(identity: Identity, rules: PolicyRules): boolean {
  if (!rules.has('context_is_admin')) return identity.roles.includes('admin')
  return rules.check('context_is_admin', identity, { project_id: identity.projectId })
}

function attributeOf(identity: Identity, name: string): string | undefined {
  switch (name) {
    case 'project_id':
    case 'tenant_id':
    case 'tenant':
      return identity.projectId
    case 'user_id':
    case 'user':
      return identity.userId
    case 'domain_id':
      return identity.domainId
    case 'user_domain_id':
      return identity.userDomainId
    case 'project_domain_id':
      return identity.projectDomainId
    case 'is_admin_project':
      return 'True'
    case 'system_scope':
      return identity.systemScope ? 'all' : undefined
    default:
      return undefined
  }
}
