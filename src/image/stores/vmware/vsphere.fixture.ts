import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A vCenter of one datacenter: its SOAP calls and its datastores over HTTP, as far as the store uses them, with the
 * answers that VMware's documentation shows. No real one can be had in a test.
 */
export class TestVsphere implements AsyncDisposable {
  /** Files by `[datastore] path`. */
  readonly files = new Map<string, Buffer>()
  /** Free bytes by datastore. */
  readonly free = new Map([
    ['small', 1_000_000],
    ['large', 10_000_000_000],
  ])
  logins = 0
  origin = ''
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch((error: unknown) => response.destroy(error as Error)) // for the test's log
  })
  readonly #sessions = new Set<string>()
  readonly #tasks = new Map<string, string | undefined>()

  static async start(): Promise<TestVsphere> {
    const fixture = new TestVsphere()
    await new Promise<void>((resolve) => fixture.#server.listen(0, '127.0.0.1', resolve))
    const { port } = fixture.#server.address() as AddressInfo // it listens on TCP
    fixture.origin = `http://127.0.0.1:${port}`
    return fixture
  }

  /** As after a restart: every session is unknown. */
  forgetSessions(): void {
    this.#sessions.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    const url = new URL(request.url ?? '', this.origin)
    const isKnown = this.#sessions.has(request.headers.cookie ?? '')
    if (url.pathname === '/sdk') {
      for await (const chunk of request) chunks.push(chunk as Buffer) // no encoding is set
      this.#soap(Buffer.concat(chunks).toString(), isKnown, response)
      return
    }
    if (!isKnown) {
      request.resume()
      response.writeHead(401).end()
      return
    }
    const path = decodeURIComponent(url.pathname.slice('/folder/'.length))
    const name = `[${url.searchParams.get('dsName')}] ${path}`
    const file = this.files.get(name)
    if (request.method === 'PUT') {
      if (file !== undefined) {
        request.resume()
        response.writeHead(409).end()
        return
      }
      this.files.set(name, Buffer.alloc(0)) // a server that keeps what broke off: the store must remove it
      for await (const chunk of request) {
        chunks.push(chunk as Buffer) // no encoding is set
      }
      this.files.set(name, Buffer.concat(chunks))
      response.writeHead(201).end()
      return
    }
    if (file === undefined) {
      response.writeHead(404).end()
      return
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    const part = range === null ? file : file.subarray(Number(range[1]), Number(range[2]) + 1)
    response.writeHead(range === null ? 200 : 206, { 'content-length': part.byteLength })
    response.end(request.method === 'HEAD' ? undefined : part)
  }

  #soap(body: string, isKnown: boolean, response: ServerResponse): void {
    const reply = (text: string, headers: Record<string, string> = {}) => {
      const envelope = `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>${text}</soapenv:Body></soapenv:Envelope>`
      response.writeHead(text.includes('<faultstring>') ? 500 : 200, {
        'content-type': 'text/xml',
        ...headers,
      })
      response.end(envelope)
    }
    const fault = (kind: string) =>
      reply(
        `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${kind} &amp; so on</faultstring><detail><${kind}Fault xmlns="urn:vim25" xsi:type="${kind}"></${kind}Fault></detail></soapenv:Fault>`,
      )
    const value = (name: string) => new RegExp(`<${name}[^>]*>([^<]*)</${name}>`).exec(body)?.[1] ?? ''
    if (body.includes('<RetrieveServiceContent ')) {
      reply(
        '<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><propertyCollector type="PropertyCollector">propertyCollector</propertyCollector><sessionManager type="SessionManager">SessionManager</sessionManager><searchIndex type="SearchIndex">SearchIndex</searchIndex><fileManager type="FileManager">FileManager</fileManager></returnval></RetrieveServiceContentResponse>',
      )
    } else if (body.includes('<Login ')) {
      if (value('password') !== 'p&lt;w') {
        fault('InvalidLogin')
        return
      }
      this.logins += 1
      const cookie = `vmware_soap_session="${this.logins}"`
      this.#sessions.add(cookie)
      reply('<LoginResponse xmlns="urn:vim25"/>', { 'set-cookie': `${cookie}; Path=/; HttpOnly; Secure;` })
    } else if (!isKnown) {
      fault('NotAuthenticated')
    } else if (body.includes('<FindByInventoryPath ')) {
      const found =
        value('inventoryPath') === 'dc1' ? '<returnval type="Datacenter">datacenter-2</returnval>' : ''
      reply(`<FindByInventoryPathResponse xmlns="urn:vim25">${found}</FindByInventoryPathResponse>`)
    } else if (body.includes('<MakeDirectory ')) {
      fault('FileAlreadyExists')
    } else if (body.includes('<DeleteDatastoreFile_Task ')) {
      const task = `task-${this.#tasks.size + 1}`
      this.#tasks.set(task, this.files.delete(value('name')) ? undefined : 'FileNotFound')
      reply(
        `<DeleteDatastoreFile_TaskResponse xmlns="urn:vim25"><returnval type="Task">${task}</returnval></DeleteDatastoreFile_TaskResponse>`,
      )
    } else if (body.includes('<type>Task</type>')) {
      const failure = this.#tasks.get(value('obj'))
      const info =
        failure === undefined
          ? '<state>success</state>'
          : `<state>error</state><error><fault xsi:type="${failure}"></fault><localizedMessage>File was not found</localizedMessage></error>`
      reply(
        `<RetrievePropertiesResponse xmlns="urn:vim25"><returnval><propSet><name>info</name><val xsi:type="TaskInfo">${info}</val></propSet></returnval></RetrievePropertiesResponse>`,
      )
    } else if (body.includes('<type>Datacenter</type>')) {
      const references = [...this.free.keys()]
        .map((name) => `<ManagedObjectReference type="Datastore">${name}</ManagedObjectReference>`)
        .join('')
      reply(
        `<RetrievePropertiesResponse xmlns="urn:vim25"><returnval><propSet><name>datastore</name><val xsi:type="ArrayOfManagedObjectReference">${references}</val></propSet></returnval></RetrievePropertiesResponse>`,
      )
    } else if (body.includes('<type>Datastore</type>')) {
      const summaries = [...this.free]
        .map(
          ([name, free]) =>
            `<returnval><propSet><name>summary</name><val xsi:type="DatastoreSummary"><name>${name}</name><freeSpace>${free}</freeSpace><accessible>true</accessible></val></propSet></returnval>`,
        )
        .join('')
      reply(`<RetrievePropertiesResponse xmlns="urn:vim25">${summaries}</RetrievePropertiesResponse>`)
    } else fault('InvalidRequest')
  }
}
