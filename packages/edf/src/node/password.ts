import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

/** 16 MiB and some 30 ms on one core per verification. */
const cost = { N: 16384, r: 8, p: 1 }
const keyBytes = 32

/** `scrypt$N$r$p$salt$hash`, the last two in base64url. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, cost)
  return ['scrypt', cost.N, cost.r, cost.p, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const [kind, N, r, p, salt = '', hash = ''] = stored.split('$')
  if (kind !== 'scrypt') return false
  const expected = Buffer.from(hash, 'base64url')
  const actual = await derive(password, Buffer.from(salt, 'base64url'), {
    N: Number(N),
    r: Number(r),
    p: Number(p),
  })
  return expected.byteLength === actual.byteLength && timingSafeEqual(expected, actual)
}

function derive(password: string, salt: Buffer, options: typeof cost): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, keyBytes, options, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

/**
 * Remembers passwords that were right, as a keyed digest with a key of this process: some clients log in before
 * every request, and must not pay for scrypt each time.
 */
export class VerifiedPasswords {
  readonly #key = randomBytes(32)
  readonly #digests = new Map<string, { digest: Buffer; stored: string }>()

  async verify(userId: string, password: string, stored: string): Promise<boolean> {
    const digest = createHmac('sha256', this.#key).update(password).digest()
    const known = this.#digests.get(userId)
    if (known !== undefined && known.stored === stored && timingSafeEqual(known.digest, digest)) return true
    if (!(await verifyPassword(password, stored))) return false
    this.#digests.set(userId, { digest, stored })
    return true
  }
}
