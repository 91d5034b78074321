import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, freemem, totalmem } from 'node:os'
import { instantiateWasm } from '../linalg/wasm.ts'
import { nativeStatus } from '../runtime/native.ts'
import type { ProviderProbe } from '../runtime/probe.ts'
import { probeProviders, runtimeVersions } from '../runtime/probe.ts'
import { TOOL_VERSION } from '../version.ts'

export type DoctorResult = {
  readonly version: string
  readonly node: string
  readonly platform: string
  readonly cpu: {
    readonly model: string
    /** Processors of the machine, and those this process may use. */
    readonly processors: number
    readonly usable: number
    /** Instruction sets that kernels look for; empty where the system does not tell. */
    readonly features: readonly string[]
  }
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number }
  readonly onnxruntime: { readonly package: string; readonly library: string }
  readonly providers: readonly ProviderProbe[]
  readonly native: {
    /** Path of the addon and of the operator library, where they are. */
    readonly addon?: string
    readonly operators?: string
    /** What the addon computes products with. */
    readonly products?: string
  }
  /** Whether the WebAssembly kernels of the solver load. */
  readonly wasm: boolean
  /** What is missing, what that means and how to get it; empty when nothing is. */
  readonly notes: readonly string[]
}

/** Flags of Linux' /proc/cpuinfo that matter here, x86 and Arm. */
const FEATURES =
  'avx2 fma f16c avx512f avx512bw avx512vl avx512_vbmi2 avx512_vnni avx512_bf16 avx512_fp16 avx_vnni amx_tile amx_bf16 ' +
  'amx_int8 asimd asimddp bf16 i8mm sve sve2'

/** What this machine and this installation can do. It never throws for what is missing: that is a note. */
export async function doctor(): Promise<DoctorResult> {
  const native = nativeStatus()
  const providers = await probeProviders()
  const wasm = wasmError()
  const processors = cpus()
  return {
    version: TOOL_VERSION,
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    cpu: {
      model: processors[0]?.model.trim() ?? 'unknown',
      processors: processors.length,
      usable: availableParallelism(),
      features: cpuFeatures(),
    },
    memory: { totalBytes: totalmem(), availableBytes: availableMemory() },
    onnxruntime: runtimeVersions(),
    providers,
    native: native.found
      ? {
          addon: native.addonPath,
          ...(native.operatorsPath === undefined ? {} : { operators: native.operatorsPath }),
          products: native.addon.gemmIsa(),
        }
      : {},
    wasm: wasm === undefined,
    notes: [...(wasm === undefined ? [] : [wasm]), ...providers.flatMap(providerNote), ...armNote(native.found)],
  }
}

const MEANING: Readonly<Record<ProviderProbe['provider'], string>> = {
  cpu: 'nothing runs',
  spexpand: 'artifacts run by their portable functions, correctly and slowly',
  cuda: 'no NVIDIA GPU is used',
  webgpu: 'no GPU is used through WebGPU',
}

function providerNote(probe: ProviderProbe): string[] {
  if (probe.works) return []
  const { provider, because, remedy } = probe
  return [`${provider} does not run here (${because}): ${MEANING[provider]}: ${remedy}`]
}

function armNote(isNative: boolean): string[] {
  if (process.arch !== 'arm64' || !isNative) return []
  return [
    'the NEON kernels were compiled and tested under emulation (qemu-user), and their speed was never measured on ARM ' +
      'hardware: "spexpand verify" measures it here',
  ]
}

function wasmError(): string | undefined {
  try {
    instantiateWasm(0)
    return undefined
  } catch (cause) {
    return `the WebAssembly kernels do not load (${(cause as Error).message}): nothing can be pruned: npm run build:wasm`
  }
}

function cpuFeatures(): string[] {
  const file = '/proc/cpuinfo'
  if (!existsSync(file)) return []
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync(file, 'utf8'))?.[1]?.split(' ') ?? []
  return FEATURES.split(' ').filter((feature) => flags.includes(feature))
}

/** Free memory, and on Linux what the page cache would give back. */
function availableMemory(): number {
  const file = '/proc/meminfo'
  const kB = existsSync(file) ? /^MemAvailable:\s*(\d+) kB$/m.exec(readFileSync(file, 'utf8'))?.[1] : undefined
  return kB === undefined ? freemem() : Number(kB) * 1024
}
