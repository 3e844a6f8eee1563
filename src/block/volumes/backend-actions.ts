import { type Static, Type } from 'typebox'
import { Invalid, NotFound } from '../../kernel/errors.ts'
import type { Block } from '../context.ts'
import { type Action, accepted, action, type BlockRequest, parameter } from '../operation.ts'
import { booleanOf, closed, LaxBoolean, Uuid, validator } from '../validation.ts'
import { completeExtend } from './extend-completion.ts'
import { unmanageVolume } from './manage/unmanage.ts'
import { completeMigration, migrateVolume } from './migration/migrate.ts'
import { retypeVolume } from './migration/retype.ts'
import { reimageVolume } from './reimage.ts'
import { revertVolume } from './revert.ts'
import { noArgument } from './schemas.ts'
import { uploadToImage } from './upload-image.ts'

const word = Type.String({ minLength: 1, maxLength: 255 })
const flag = Type.Optional(LaxBoolean)

const uploadFields = {
  image_name: word,
  force: flag,
  disk_format: Type.Optional(
    Type.Union(
      ['raw', 'vmdk', 'vdi', 'qcow2', 'vhd', 'vhdx', 'ploop'].map((format) => Type.Literal(format)),
      { description: 'is not a format that volumes are uploaded in' },
    ),
  ),
  container_format: Type.Optional(Type.Union([word, Type.Null()])),
}
const UploadFields = closed(uploadFields)
const UploadFieldsSince1 = closed({
  ...uploadFields,
  visibility: Type.Optional(
    Type.Union(
      ['public', 'private', 'shared', 'community'].map((one) => Type.Literal(one)),
      { description: "is not one of ['community', 'public', 'private', 'shared']" },
    ),
  ),
  protected: flag,
})
const uploadArgument = validator(UploadFields)
const uploadArgumentSince1 = validator(UploadFieldsSince1)
const anything = validator(Type.Unknown())

const migrateFields = { host: Type.Optional(word), force_host_copy: flag, lock_volume: flag }
const migrateArgument = validator(closed(migrateFields))
const migrateArgumentSince16 = validator(
  closed({ ...migrateFields, cluster: Type.Optional(Type.Union([word, Type.Null()])) }),
)
const completionArgument = validator(closed({ new_volume: Uuid, error: flag }))
const retypeArgument = validator(
  closed({
    new_type: word,
    migration_policy: Type.Optional(
      Type.Union([Type.Literal('never'), Type.Literal('on-demand')], {
        description: "is not one of ['on-demand', 'never']",
      }),
    ),
  }),
)
const revertArgument = validator(closed({ snapshot_id: Uuid }))
const reimageArgument = validator(closed({ image_id: Uuid, reimage_reserved: flag }))
const extendedArgument = validator(closed({ error: flag }))

/** Actions after which a worker has something to do on a backend. */
export function volumeBackendActions(block: Block): readonly Action[] {
  const id = (request: BlockRequest) => parameter(request, 'id')
  return [
    action({
      name: 'os-volume_upload_image',
      body: anything,
      async run(request, argument) {
        const body: Static<typeof UploadFieldsSince1> =
          request.minor >= 1 ? uploadArgumentSince1.check(argument) : uploadArgument.check(argument)
        const image = await uploadToImage(block, request, id(request), body)
        return { status: 202, body: { 'os-volume_upload_image': image } }
      },
    }),
    action({
      name: 'os-retype',
      body: retypeArgument,
      async run(request, body) {
        const policy = body.migration_policy ?? 'never'
        await retypeVolume(block, request, id(request), { type: body.new_type, policy })
        return accepted
      },
    }),
    action({
      name: 'os-migrate_volume',
      body: anything,
      async run(request, argument) {
        const {
          host,
          cluster,
          lock_volume: lock,
        } = request.minor >= 16
          ? migrateArgumentSince16.check(argument)
          : { cluster: null, ...migrateArgument.check(argument) }
        if (cluster && host) {
          throw new Invalid('Invalid input received: host and cluster are mutually exclusive.')
        }
        if (cluster) throw new NotFound(`Cluster ${cluster} could not be found.`)
        if (host === undefined)
          throw new Invalid(
            "Invalid input for field/attribute os-migrate_volume. 'host' is a required property",
          )
        await migrateVolume(block, request, id(request), { host, lock: booleanOf(lock ?? false) })
        return accepted
      },
    }),
    action({
      name: 'os-migrate_volume_completion',
      body: completionArgument,
      async run(request, body) {
        const survivor = await completeMigration(block, request, id(request), body.new_volume)
        return { status: 200, body: { save_volume_id: survivor } }
      },
    }),
    action({
      name: 'os-extend_volume_completion',
      since: 71,
      body: extendedArgument,
      async run(request, body) {
        await completeExtend(block, request, id(request), booleanOf(body.error ?? false))
        return accepted
      },
    }),
    action({
      name: 'revert',
      since: 40,
      body: revertArgument,
      async run(request, body) {
        await revertVolume(block, request, id(request), body.snapshot_id)
        return accepted
      },
    }),
    action({
      name: 'os-reimage',
      since: 68,
      body: reimageArgument,
      async run(request, body) {
        const reserved = booleanOf(body.reimage_reserved ?? false)
        await reimageVolume(block, request, id(request), { imageId: body.image_id, reserved })
        return accepted
      },
    }),
    action({
      name: 'os-unmanage',
      body: noArgument,
      async run(request) {
        await unmanageVolume(block, request, id(request))
        return accepted
      },
    }),
  ]
}
