import type { ApiScope } from '../api.ts'
import { objectOf, sendJson } from '../images/routes.ts'
import { wireTime } from '../images/view.ts'
import { addMember, listMembers, type Member, removeMember, showMember, updateMember } from './members.ts'

type WithImage = { Params: { image_id: string } }
type WithMember = { Params: { image_id: string; member_id: string } }

export function memberRoutes({ app, environment, requestOf }: ApiScope): void {
  app.get<WithImage>('/images/:image_id/members', async (request, reply) => {
    const members = await listMembers(environment, requestOf(request), request.params.image_id)
    return sendJson(reply, 200, { members: members.map(memberView), schema: '/v2/schemas/members' })
  })

  app.post<WithImage>('/images/:image_id/members', async (request, reply) => {
    const { member } = objectOf(request.body)
    const view = memberView(await addMember(environment, requestOf(request), request.params.image_id, member))
    environment.notifications.emit('image.member.create', view)
    return sendJson(reply, 200, view)
  })

  app.get<WithMember>('/images/:image_id/members/:member_id', async (request, reply) => {
    const { image_id, member_id } = request.params
    return sendJson(
      reply,
      200,
      memberView(await showMember(environment, requestOf(request), image_id, member_id)),
    )
  })

  app.put<WithMember>('/images/:image_id/members/:member_id', async (request, reply) => {
    const { image_id, member_id } = request.params
    const { status } = objectOf(request.body)
    const view = memberView(await updateMember(environment, requestOf(request), image_id, member_id, status))
    environment.notifications.emit('image.member.update', view)
    return sendJson(reply, 200, view)
  })

  app.delete<WithMember>('/images/:image_id/members/:member_id', async (request, reply) => {
    const { image_id, member_id } = request.params
    await removeMember(environment, requestOf(request), image_id, member_id)
    environment.notifications.emit('image.member.delete', { image_id, member_id })
    return reply.code(204).send()
  })
}

function memberView(member: Member) {
  return {
    member_id: member.member,
    image_id: member.image_id,
    status: member.status,
    created_at: wireTime(member.created_at),
    updated_at: wireTime(member.updated_at),
    schema: '/v2/schemas/member',
  }
}
