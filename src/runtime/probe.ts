import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import ort from 'onnxruntime-node'
import { encodeModel } from '../formats/onnx/encode.ts'
import type { Model } from '../formats/onnx/types.ts'
import { REMEDY } from './remedy.ts'
import type { Provider } from './session.ts'
import { createSession } from './session.ts'

/** Whether a provider runs a graph here, and if not why and what to do. */
export type ProviderProbe =
  | { readonly provider: Provider; readonly works: true }
  | { readonly provider: Provider; readonly works: false; readonly because: string; readonly remedy: string }

/** Versions of onnxruntime: of the JavaScript package and of the library it has loaded. */
export function runtimeVersions(): { readonly package: string; readonly library: string } {
  return { package: ort.env.versions.common, library: ort.env.versions.node ?? 'unknown' }
}

/**
 * Runs a graph of one node on every provider. Those with drivers of their own are tried in another process: drivers print
 * to standard error what they miss, and some end the process.
 */
export async function probeProviders(): Promise<ProviderProbe[]> {
  const here: ProviderProbe[] = []
  for (const provider of ['cpu', 'spexpand'] as const) {
    const because = await reasonOf(async () => {
      const session = await createSession(encodeModel(identityModel()), { threads: 1, provider })
      await session.run({ x: { type: 'float32', dims: [1], data: Float32Array.of(1) } })
      await session.release()
    })
    here.push(probeOf(provider, because))
  }
  return [...here, ...(['cuda', 'webgpu'] as const).map((provider) => probeOf(provider, elsewhere(provider)))]
}

function probeOf(provider: Provider, reason: string | undefined): ProviderProbe {
  if (reason === undefined) return { provider, works: true }
  const remedy = REMEDY[provider]
  // Errors of our own end with the remedy.
  const because = reason.endsWith(`: ${remedy}`) ? reason.slice(0, -remedy.length - 2) : reason
  return { provider, works: false, because, remedy }
}

/** Why `work` fails, in one line; nothing when it does not. */
async function reasonOf(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (cause) {
    return firstSentence((cause as Error).message)
  }
}

/** Messages of onnxruntime name its source files and addresses before they say what is missing. */
function firstSentence(message: string): string {
  const line = message.trim().replaceAll(/\s+/g, ' ')
  return line.replace(/^.*\bwas false\. /, '').replace(/^Cannot (run on|load a model in memory into) [^:]*: /, '')
}

const SCRIPT = `
const { writeSync } = require('node:fs')
const ort = require(process.argv[1])
const [provider, model] = process.argv.slice(2)
ort.InferenceSession.create(Buffer.from(model, 'base64'), { executionProviders: [provider], logSeverityLevel: 4 })
  .then((session) => session.run({ x: new ort.Tensor('float32', [1], [1]) }))
  .then(() => writeSync(1, 'works'), (error) => writeSync(1, error.message))
`
const PATIENCE_MS = 60_000

/** Why a provider does not run in a process of its own; nothing when it does. */
function elsewhere(provider: Provider): string | undefined {
  const runtime = createRequire(import.meta.url).resolve('onnxruntime-node')
  const model = Buffer.from(encodeModel(identityModel())).toString('base64')
  const { stdout, signal } = spawnSync(process.execPath, ['-e', SCRIPT, runtime, provider, model], {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  if (stdout === 'works') return undefined
  return stdout === '' ? `its process ended by ${signal ?? 'itself'}` : firstSentence(stdout)
}

/** y = x, one number. */
function identityModel(): Model {
  return {
    irVersion: 10,
    producerName: 'spexpand',
    producerVersion: '',
    opsetImport: [{ domain: '', version: 21 }],
    graph: {
      name: 'probe',
      node: [{ name: 'y', opType: 'Identity', domain: '', input: ['x'], output: ['y'], attribute: [] }],
      initializer: [],
      input: [{ name: 'x', type: 'float', shape: [1] }],
      output: [{ name: 'y', type: 'float', shape: [1] }],
      valueInfo: [],
    },
    functions: [],
    metadataProps: [],
  }
}
