import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { IntegrityError, NetworkError } from '../../src/errors.ts'
import { parseHubId } from '../../src/hub/id.ts'
import { hubSettings } from '../../src/hub/settings.ts'
import type { FetchOptions } from '../../src/hub/snapshot.ts'
import { fetchModel } from '../../src/hub/snapshot.ts'
import { temporaryFolder } from '../formats/temp.ts'
import type { FakeHub } from './server.ts'
import { COMMIT, fakeHub } from './server.ts'

const folder = temporaryFolder()
const weights = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251))
const FILES = {
  'config.json': Buffer.from('{"model_type":"llama"}'),
  'tokenizer.json': Buffer.from('{"model":{}}'),
  'model.safetensors': weights,
  'README.md': Buffer.from('not wanted'),
  'pytorch_model.bin': Buffer.from('not wanted'),
}
const SHA256 = createHash('sha256').update(weights).digest('hex')

let hub: FakeHub
let home: string
beforeEach(async () => {
  hub = await fakeHub(FILES)
  home = fs.mkdtempSync(path.join(folder, 'home-'))
})
afterEach(() => hub.close())

function settings(more: Record<string, string> = {}): ReturnType<typeof hubSettings> {
  return { ...hubSettings({ HF_HOME: home, HF_ENDPOINT: hub.endpoint, ...more }), retryWaitsMs: [1, 2, 3] }
}

function take(options: FetchOptions = {}, more: Record<string, string> = {}, id = 'org/tiny'): Promise<string> {
  return fetchModel(parseHubId(id)!, settings(more), options)
}

function index(shard: string): Buffer {
  return Buffer.from(JSON.stringify({ weight_map: { a: 'a.safetensors', b: shard } }))
}

const repository = (): string => path.join(home, 'hub/models--org--tiny')
const lines = (): string[] => hub.requests.map(({ line }) => line)

describe('fetchModel()', () => {
  it('fetches what is needed into the layout of huggingface_hub', async () => {
    const seen: [number, number][] = []
    const snapshot = await take({ onBytes: (done, total) => void seen.push([done, total]) })
    expect(snapshot).toBe(path.join(repository(), 'snapshots', COMMIT))
    expect(fs.readdirSync(snapshot).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
    expect(fs.readFileSync(path.join(snapshot, 'model.safetensors')).equals(weights)).toBe(true)
    expect(fs.readlinkSync(path.join(snapshot, 'model.safetensors'))).toBe(`../../blobs/${SHA256}`)
    expect(fs.readFileSync(path.join(repository(), 'refs/main'), 'utf8')).toBe(COMMIT)
    expect(fs.readdirSync(path.join(repository(), 'blobs')).filter((name) => name.includes('.'))).toEqual([])
    const total = FILES['config.json'].length + FILES['tokenizer.json'].length + weights.length
    expect(seen.at(-1)).toEqual([total, total])
    expect(seen.every(([done], i) => i === 0 || done >= seen[i - 1]![0])).toBe(true)
  })

  it('asks for nothing twice, and for nothing at all with a commit that is there', async () => {
    await take()
    const first = hub.requests.length
    await take({ revision: 'v1' })
    expect(
      lines()
        .slice(first)
        .filter((line) => line.startsWith('GET')),
    ).toEqual(['GET /api/models/org/tiny/revision/v1'])
    const second = hub.requests.length
    await take({ revision: COMMIT })
    expect(hub.requests.length).toBe(second)
  })

  it('works offline from the cache, and says what is missing there', async () => {
    const offline = { HF_HUB_OFFLINE: '1' }
    await expect(take({}, offline)).rejects.toThrow(/Cannot use org\/tiny at main offline/)
    const snapshot = await take()
    expect(await take({}, { ...offline, HF_ENDPOINT: 'http://127.0.0.1:9' })).toBe(snapshot)
    fs.rmSync(path.join(repository(), 'blobs', SHA256))
    await expect(take({}, offline)).rejects.toThrow(NetworkError)
  })

  it('takes up a download where the connection was cut', async () => {
    hub.faults.set('model.safetensors', ['cut', 'hang-up', 'cut'])
    const snapshot = await take()
    expect(fs.readFileSync(path.join(snapshot, 'model.safetensors')).equals(weights)).toBe(true)
    const ranges = lines()
      .filter((line) => line.startsWith('GET /lfs'))
      .map((line) => line.split(' ')[2])
    expect(ranges.length).toBeGreaterThan(2)
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ''))).toBe(true)
  })

  it('takes up a download that an earlier process left, also where the server gives no ranges', async () => {
    const partial = path.join(repository(), 'blobs', `${SHA256}.incomplete`)
    for (const fault of [undefined, 'ignore-range', '416'] as const) {
      fs.rmSync(repository(), { recursive: true, force: true })
      fs.mkdirSync(path.dirname(partial), { recursive: true })
      fs.writeFileSync(partial, weights.subarray(0, 1000))
      if (fault) hub.faults.set('model.safetensors', [fault])
      const snapshot = await take()
      expect(fs.readFileSync(path.join(snapshot, 'model.safetensors')).equals(weights)).toBe(true)
      expect(lines()).toContain('GET /lfs/model.safetensors bytes=1000-')
    }
  })

  it('fetches damaged bytes again, and refuses what stays damaged', async () => {
    hub.faults.set('model.safetensors', ['damage'])
    await take()
    fs.rmSync(repository(), { recursive: true })
    hub.faults.set('model.safetensors', ['damage', 'damage'])
    await expect(take()).rejects.toThrow(IntegrityError)
    expect(fs.readdirSync(path.join(repository(), 'blobs')).filter((name) => name.startsWith(SHA256))).toEqual([])
    hub.faults.set('config.json', ['damage', 'damage'])
    fs.rmSync(repository(), { recursive: true })
    await expect(take()).rejects.toThrow(/config.json: its hash is [0-9a-f]{40}, the hub says/)
  })

  it('tries again when the server fails, and gives up with one line', async () => {
    hub.faults.set('api', [500, 503])
    await take()
    hub.faults.set('api', [500, 500, 500, 500])
    await expect(take()).rejects.toThrow(
      /api\/models\/org\/tiny\/revision\/main: the server answers 500: try again later$/,
    )
    await expect(take({}, { HF_ENDPOINT: 'http://127.0.0.1:9' })).rejects.toThrow(
      /^Cannot reach http:\/\/127.0.0.1:9\//,
    )
  })

  it('sends the token to the hub and not to its storage', async () => {
    await hub.close()
    hub = await fakeHub(FILES, 'hf_secret')
    await expect(take()).rejects.toThrow(/answers 401 \(Access to model org\/tiny is restricted\): .* or set HF_TOKEN$/)
    await expect(take({}, { HF_TOKEN: 'wrong' })).rejects.toThrow(/the token in use has no access/)
    fs.writeFileSync(path.join(home, 'token'), 'hf_secret\n')
    hub.requests.length = 0
    await take()
    const storage = hub.requests.filter(({ line }) => line.includes('/lfs/'))
    expect(storage).toEqual([{ line: 'GET /lfs/model.safetensors', authorization: undefined }])
    expect(
      hub.requests.filter((one) => !storage.includes(one)).every((one) => one.authorization === 'Bearer hf_secret'),
    ).toBe(true)
  })

  it('names what is not there', async () => {
    await expect(take({}, {}, 'org/other')).rejects.toThrow(/answers 404 .*: check the name and --revision/)
    await expect(take({ revision: 'v9' })).rejects.toThrow(/answers 404 \(Revision Not Found\)/)
    await expect(take({}, {}, 'org/tiny/model.gguf')).rejects.toThrow(/it has no model.gguf: it has no GGUF files/)
  })

  it('fetches the shards that an index names, and refuses names that lead out', async () => {
    const { 'model.safetensors': _, ...others } = FILES
    const sharded = async (shard: string): Promise<string> => {
      await hub.close()
      hub = await fakeHub({
        ...others,
        'a.safetensors': weights,
        'b.safetensors': Buffer.from('b'),
        'c.safetensors': Buffer.from('c'),
        'model.safetensors.index.json': index(shard),
      })
      return take()
    }
    const snapshot = await sharded('b.safetensors')
    expect(fs.readdirSync(snapshot).filter((name) => name.endsWith('.safetensors'))).toEqual([
      'a.safetensors',
      'b.safetensors',
    ])
    expect(await take({}, { HF_HUB_OFFLINE: '1' })).toBe(snapshot)
    await expect(sharded('../../../../evil.safetensors')).rejects.toThrow(/its weight_map names "\.\.\/\.\.\//)
    await expect(sharded('d.safetensors')).rejects.toThrow(/names d.safetensors, which it does not have/)
  })

  it('fetches one GGUF file of a repository', async () => {
    await hub.close()
    hub = await fakeHub({ 'README.md': Buffer.from(''), 'q4/Tiny.Q4_K.gguf': weights })
    await expect(take()).rejects.toThrow(
      /it has no config.json: name one of its GGUF files, e.g. org\/tiny\/q4\/Tiny.Q4_K.gguf/,
    )
    const file = await take({}, {}, 'hf:org/tiny/q4/Tiny.Q4_K.gguf')
    expect(file.endsWith(`snapshots/${COMMIT}/q4/Tiny.Q4_K.gguf`)).toBe(true)
    expect(fs.readFileSync(file).equals(weights)).toBe(true)
    expect(fs.readlinkSync(file)).toBe(`../../../blobs/${SHA256}`)
  })

  it('stops when it is told to', async () => {
    const controller = new AbortController()
    controller.abort()
    await expect(take({ signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('hubSettings()', () => {
  it('reads the variables of huggingface_hub', () => {
    expect(hubSettings({ XDG_CACHE_HOME: '/x' })).toMatchObject({
      endpoint: 'https://huggingface.co',
      cacheFolder: '/x/huggingface/hub',
      offline: false,
    })
    const all = {
      HF_HOME: '/h',
      HF_HUB_CACHE: '/c',
      HF_ENDPOINT: 'https://mirror/',
      HF_TOKEN: ' t ',
      HF_HUB_OFFLINE: 'TRUE',
    }
    expect(hubSettings(all)).toMatchObject({ endpoint: 'https://mirror', token: 't', cacheFolder: '/c', offline: true })
    expect(hubSettings({ HF_HOME: '/h' }, true)).toMatchObject({ cacheFolder: '/h/hub', offline: true })
    expect(() => hubSettings({ HF_ENDPOINT: 'mirror' })).toThrow(/HF_ENDPOINT: got "mirror"/)
  })
})

describe('parseHubId()', () => {
  it('takes owner/name, with hf: in front or a GGUF file behind', () => {
    expect(parseHubId('HuggingFaceTB/SmolLM2-135M')).toEqual({ repository: 'HuggingFaceTB/SmolLM2-135M' })
    expect(parseHubId('hf:a/b')).toEqual({ repository: 'a/b' })
    expect(parseHubId('a/b/c.Q4.gguf')).toEqual({ repository: 'a/b', file: 'c.Q4.gguf' })
  })

  it.each(['gpt2', './a/b', '/a/b', '../b', 'a/..', 'a/b/c', 'a//b', 'a/b--c', '-a/b', 'a/b/../c.gguf', 'a/b c', ''])(
    'refuses %j',
    (text) => expect(parseHubId(text)).toBeUndefined(),
  )
})
