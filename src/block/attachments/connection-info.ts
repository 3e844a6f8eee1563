import type { SecretBox } from '../../kernel/crypto/secret-box.ts'
import { Secret } from '../../kernel/secret.ts'

/** A connection as the database keeps it: encrypted, for it may hold the CHAP password of a volume. */
export function sealConnection(secrets: SecretBox, attachmentId: string, connection: object): string {
  return secrets.encrypt(new Secret(JSON.stringify(connection)), placeOf(attachmentId))
}

/** What `sealConnection` was given. @throws Misconfigured when the key is another one */
export function unsealConnection(secrets: SecretBox, attachmentId: string, kept: string): object {
  return JSON.parse(secrets.decrypt(kept, placeOf(attachmentId)).reveal()) as object // only objects are sealed
}

const placeOf = (attachmentId: string) => `attachments.connection_info:${attachmentId}`
