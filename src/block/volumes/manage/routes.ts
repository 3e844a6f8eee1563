import { type Static, Type } from 'typebox'
import { Invalid } from '../../../kernel/errors.ts'
import type { Block } from '../../context.ts'
import { type BlockRequest, type Operation, operation } from '../../operation.ts'
import { manageSnapshot } from '../../snapshots/manage/manage.ts'
import { snapshotJson } from '../../snapshots/view.ts'
import {
  booleanOf,
  closed,
  LaxBoolean,
  Metadata,
  Name,
  SnapshotMetadata,
  Uuid,
  validator,
} from '../../validation.ts'
import { volumeJson } from '../view.ts'
import { hostIn } from './backend.ts'
import { manageableListOperations } from './list.ts'
import { manageVolume, referenceOf } from './manage.ts'

const text = Type.Optional(Type.Union([Type.String({ maxLength: 255 }), Type.Null()]))

const ManageBody = closed({
  volume: Type.Object({
    host: text,
    cluster: text,
    ref: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.String()]),
    name: Type.Optional(Name),
    description: Type.Optional(Name),
    volume_type: text,
    availability_zone: text,
    metadata: Type.Optional(Type.Union([Metadata, Type.Null()])),
    bootable: Type.Optional(LaxBoolean),
  }),
})
const manageBody = validator(ManageBody)

const manageSnapshotBody = validator(
  closed({
    snapshot: Type.Object({
      volume_id: Uuid,
      ref: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.String()]),
      name: Type.Optional(Name),
      description: Type.Optional(Name),
      metadata: Type.Optional(Type.Union([SnapshotMetadata, Type.Null()])),
    }),
  }),
)

/** What `POST` answers has no fields of later versions, whatever version was asked for. */
const shapeBefore = 12

/** Both families of URLs that manage volumes and snapshots. @see block-storage-api specification 5.8 */
export function manageOperations(block: Block): readonly Operation[] {
  const manage = async (request: BlockRequest, { volume: body }: Static<typeof ManageBody>) => {
    if (request.minor < 16 && body.cluster) {
      throw new Invalid("Additional properties are not allowed ('cluster' was unexpected)")
    }
    const row = await manageVolume(block, request, {
      host: hostIn(request.minor, 16, {
        ...(body.host === undefined ? {} : { host: body.host }),
        ...(body.cluster === undefined ? {} : { cluster: body.cluster }),
      }),
      reference: referenceOf(body.ref),
      name: body.name?.trim() ?? null,
      description: body.description?.trim() ?? null,
      volumeType: body.volume_type ?? undefined,
      availabilityZone: body.availability_zone ?? null,
      metadata: body.metadata ?? {},
      bootable: booleanOf(body.bootable ?? false),
    })
    const shape = { ...request, minor: Math.min(request.minor, shapeBefore) }
    return { status: 202, body: `{"volume":${volumeJson(row, [], shape, 'create')}}` }
  }
  const manageOne = (path: string, since: number) =>
    operation({
      method: 'POST',
      path,
      since,
      body: manageSnapshotBody,
      async run(request, { snapshot: body }) {
        const row = await manageSnapshot(block, request, {
          volumeId: body.volume_id,
          reference: referenceOf(body.ref),
          name: body.name?.trim() ?? null,
          description: body.description?.trim() ?? null,
          metadata: body.metadata ?? {},
        })
        const shape = { ...request, minor: Math.min(request.minor, shapeBefore) }
        return { status: 202, body: `{"snapshot":${snapshotJson(row, shape, 'create')}}` }
      },
    })
  return [
    ...manageableListOperations(block),
    operation({ method: 'POST', path: '/manageable_volumes', since: 8, body: manageBody, run: manage }),
    operation({ method: 'POST', path: '/os-volume-manage', body: manageBody, run: manage }),
    manageOne('/manageable_snapshots', 8),
    manageOne('/os-snapshot-manage', 0),
  ]
}
