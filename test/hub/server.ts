import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a test makes the hub do wrong, by path; each entry is used up by one request. */
export type Faults = Map<string, ('cut' | 'hang-up' | 'damage' | 'ignore-range' | '416' | 500 | 503)[]>

export type FakeHub = {
  readonly endpoint: string
  readonly faults: Faults
  /** 'METHOD path range', and whether a token came along, in order. */
  readonly requests: { readonly line: string; readonly authorization: string | undefined }[]
  close(): Promise<void>
}

export const COMMIT = 'c0ffee'.padEnd(40, '0')

/**
 * A hub of one repository, org/tiny: the API, resolve addresses, large files behind a redirect to a server of their own
 * (as the hub's storage), ranges. `secret` is the token that it wants.
 */
export async function fakeHub(files: Readonly<Record<string, Buffer>>, secret?: string): Promise<FakeHub> {
  const faults: Faults = new Map()
  const requests: { line: string; authorization: string | undefined }[] = []
  const note = (request: http.IncomingMessage): void => {
    const { method, url, headers } = request
    requests.push({
      line: [method, url, headers.range].filter(Boolean).join(' '),
      authorization: headers.authorization,
    })
  }
  const storage = await listen((request, response) => {
    note(request)
    const name = decodeURIComponent(request.url!.slice('/lfs/'.length))
    sendFile(request, response, files[name]!, faults.get(name)?.shift())
  })
  const hub = await listen((request, response) => {
    note(request)
    const end = (status: number, headers: http.OutgoingHttpHeaders = {}, body = ''): void => {
      response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body)
    }
    if (secret !== undefined && request.headers.authorization !== `Bearer ${secret}`)
      return end(401, { 'x-error-message': 'Access to model org/tiny is restricted' })
    const api = /^\/api\/models\/org\/tiny\/revision\/(.+)$/.exec(request.url!)
    if (api) {
      const fault = faults.get('api')?.shift()
      if (typeof fault === 'number') return end(fault)
      if (!['main', 'v1', COMMIT].includes(decodeURIComponent(api[1]!)))
        return end(404, { 'x-error-message': 'Revision Not Found' })
      return end(
        200,
        {},
        JSON.stringify({ sha: COMMIT, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }),
      )
    }
    const name = new RegExp(`^/org/tiny/resolve/(?:main|${COMMIT})/(.+)$`).exec(request.url!)?.[1]
    const content = name === undefined ? undefined : files[decodeURIComponent(name)]
    if (!content) return end(404, { 'x-error-message': 'Repository not found' })
    const common = { 'x-repo-commit': COMMIT }
    if (!name!.endsWith('.safetensors') && !name!.endsWith('.gguf')) {
      const etag = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex')
      if (request.method === 'HEAD') return end(200, { ...common, etag: `"${etag}"`, 'content-length': content.length })
      return sendFile(request, response, content, faults.get(name!)?.shift())
    }
    const sha256 = createHash('sha256').update(content).digest('hex')
    end(302, {
      ...common,
      location: `${storage.endpoint}/lfs/${name}`,
      etag: '"of-the-redirect"',
      'x-linked-etag': `"${sha256}"`,
      'x-linked-size': content.length,
      'content-length': 0,
    })
  })
  return {
    endpoint: hub.endpoint,
    faults,
    requests,
    close: async () => void (await hub.close(), await storage.close()),
  }
}

function sendFile(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  content: Buffer,
  fault: NonNullable<ReturnType<Faults['get']>>[number] | undefined,
): void {
  if (typeof fault === 'number') return void response.writeHead(fault).end()
  if (fault === 'hang-up') return void request.socket.destroy()
  const start = fault === 'ignore-range' ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  if (fault === '416') return void response.writeHead(416).end('Range Not Satisfiable')
  const body = Buffer.from(content.subarray(start))
  if (fault === 'damage') body[0]! ^= 1
  const range = start > 0 ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {}
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': body.length, ...range })
  if (fault !== 'cut') return void response.end(body)
  response.write(body.subarray(0, Math.ceil(body.length / 2)), () => request.socket.destroy())
}

async function listen(handler: http.RequestListener): Promise<{ endpoint: string; close(): Promise<void> }> {
  const server = http.createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  return { endpoint: `http://127.0.0.1:${port}`, close }
}
