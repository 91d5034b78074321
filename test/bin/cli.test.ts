import { describe, expect, it } from 'vitest'
import type { Library } from '../../bin/context.ts'
import { defaultOut } from '../../bin/commands/compress.ts'
import { FormatError, InterruptedError, MemoryLimitError } from '../../src/errors.ts'
import { runCli } from './context.ts'
import { sampleExperiments } from '../report/sample-experiments.ts'
import { sampleReport } from '../report/sample.ts'
import { compressResult, evaluateResult, planResult } from './results.ts'

const entangleResult = {
  report: { ...sampleReport(true), experiments: sampleExperiments() },
  summary: { findings: ['It is entangled.'], advice: ['Try it.'] },
  json: '{}\n',
  files: ['r/report.html'],
}

/** A library that notes what it is asked for and answers with the fixed results. */
function recorder() {
  const calls: { name: string; options: Record<string, unknown> }[] = []
  const answer =
    <T>(name: string, result: T) =>
    (options: object) => {
      // The ports are not flags.
      const { onProgress: _, signal: __, ...rest } = options as Record<string, unknown>
      calls.push({ name, options: rest })
      return Promise.resolve(result)
    }
  const library: Partial<Library> = {
    compress: answer('compress', compressResult),
    evaluate: answer('evaluate', evaluateResult),
    plan: answer('plan', planResult),
    entangleFiles: answer('entangleFiles', entangleResult),
  }
  return { library, calls }
}

describe('spexpand compress', () => {
  it('passes only what was asked for and measures the artifact it wrote', async () => {
    const { library, calls } = recorder()
    const { code, stdout } = await runCli('compress --experts 16 --sparsity 0.7', library)
    expect(code).toBe(0)
    expect(calls).toEqual([
      {
        name: 'compress',
        options: {
          out: 'demo-spexpand',
          experts: 16,
          pattern: { kind: 'unstructured', sparsity: 0.7 },
          native: true,
          routerBias: true,
        },
      },
      { name: 'evaluate', options: { model: 'demo-spexpand' } },
    ])
    expect(stdout).toContain('29.42')
  })

  it('hands every flag to the option of the same name', async () => {
    const { library, calls } = recorder()
    const line =
      'compress models/small --out o --pattern 2:4 --method sparse-expansion --router split --text a.txt --text - ' +
      '--eval-text e.jsonl --tokens 65536 --sequence-length 512 --seed 7 --damping 0.02 --damping-max 2 ' +
      '--min-tokens-per-expert 64 --true-sequential --stock-body fold --threads 2 --max-memory 6G --experts 4 --no-native --no-router-bias --quiet ' +
      '--values int4 --group-size 32'
    expect((await runCli(line, library)).code).toBe(0)
    expect(calls[0]!.options).toEqual({
      model: 'models/small',
      out: 'o',
      pattern: { kind: 'n:m', n: 2, m: 4 },
      method: 'sparse-expansion',
      router: 'split',
      text: { paths: ['a.txt', '-'] },
      tokens: 65_536,
      sequenceLength: 512,
      seed: 7,
      damping: 0.02,
      dampingMax: 2,
      minTokensPerExpert: 64,
      trueSequential: true,
      stockBody: 'fold',
      native: false,
      routerBias: false,
      threads: 2,
      maxMemoryBytes: 6 * 2 ** 30,
      experts: 4,
      values: 'int4',
      groupSize: 32,
    })
    expect(calls[1]!.options).toEqual({
      model: 'demo-spexpand', // the folder that the result names
      dense: 'models/small',
      text: { paths: ['e.jsonl'] },
      threads: 2,
      maxMemoryBytes: 6 * 2 ** 30,
      sequenceLength: 512,
    })
  })

  it('does not measure on text it calibrated on, and says so', async () => {
    const { library, calls } = recorder()
    const { stdout } = await runCli('compress m --text a.txt', library)
    expect(calls.map(({ name }) => name)).toEqual(['compress'])
    expect(stdout).toContain('Quality: not measured, because --text was given without --eval-text')
    expect((await runCli('compress m --no-eval', library)).stdout).toContain('because --no-eval was given')
  })

  it('writes the entanglement report of the artifact as its last stage, where --report says', async () => {
    const { library, calls } = recorder()
    const { stdout } = await runCli('compress m --out o --no-eval --threads 2 --report r', library)
    expect(calls.map(({ name }) => name)).toEqual(['compress', 'entangleFiles'])
    expect(calls[1]!.options).toEqual({ model: 'o', dense: 'm', threads: 2, native: true, out: 'r' })
    expect(stdout.trimEnd().endsWith('Wrote r/report.html')).toBe(true)
    const { stdout: json } = await runCli('compress m --no-eval --report r --json', library)
    expect(JSON.parse(json)).toMatchObject({ report: ['r/report.html'] })
  })

  it('prints one JSON object under --json, with the measurement inside', async () => {
    const { library } = recorder()
    const { stdout } = await runCli('compress --json', library)
    expect(JSON.parse(stdout)).toEqual({ ...compressResult, evaluation: evaluateResult })
    const bare = JSON.parse((await runCli('compress --json --no-eval', library)).stdout) as Record<string, unknown>
    expect(bare['evaluation']).toBeNull()
    expect(bare['evaluationSkipped']).toBe('--no-eval was given')
  })

  it('says that the measurement is left out where the limit of memory is too small for it', async () => {
    const { library } = recorder()
    const limited = { ...library, evaluate: () => Promise.reject(new MemoryLimitError('Cannot evaluate within 600M')) }
    const { code, stdout } = await runCli('compress m --max-memory 600M', limited)
    expect(code).toBe(0)
    expect(stdout).toContain(
      'Quality: not measured, because the limit is too small for it: Cannot evaluate within 600M. ' +
        'Without it: spexpand eval demo-spexpand --dense m',
    )
  })

  it('says that the artifact is complete when only its measurement fails', async () => {
    const { library } = recorder()
    const interrupted = { ...library, evaluate: () => Promise.reject(new InterruptedError('Stopped at window 3')) }
    const { code, stdout, stderr } = await runCli('compress my-model', interrupted)
    expect([code, stdout]).toEqual([130, ''])
    expect(stderr).toBe(
      'spexpand: demo-spexpand is complete, only its measurement is missing: ' +
        'spexpand eval demo-spexpand --dense my-model\nspexpand: Stopped at window 3\n',
    )
  })

  it('runs the other methods with one expert, and refuses more', async () => {
    const { library, calls } = recorder()
    await runCli('compress --method wanda', library)
    expect(calls[0]!.options).toMatchObject({ method: 'wanda', experts: 1 })
    const refused = await runCli('compress --method wanda --experts 4', library)
    expect(refused.code).toBe(2)
    expect(refused.stderr).toBe(
      'spexpand: --experts: got 4 with --method wanda, wanted 1: only sparse-expansion has experts\n',
    )
  })

  it('names the artifact after the model folder', () => {
    expect([undefined, 'models/small/', '/a/b'].map(defaultOut)).toEqual([
      'demo-spexpand',
      'small-spexpand',
      'b-spexpand',
    ])
  })
})

describe('spexpand plan and eval', () => {
  it('plan probes unless told not to', async () => {
    const { library, calls } = recorder()
    await runCli('plan small --experts 8', library)
    await runCli('plan --no-probe --out big', library)
    expect(calls.map(({ options }) => options)).toEqual([
      { model: 'small', experts: 8, native: true, routerBias: true, probe: true },
      { out: 'big', native: true, routerBias: true, probe: false },
    ])
  })

  it('eval --json has perplexity at the top level', async () => {
    const { library, calls } = recorder()
    const { stdout } = await runCli('eval art --text a.jsonl --windows 8 --dense d --json', library)
    expect((JSON.parse(stdout) as { perplexity: number }).perplexity).toBe(29.423)
    expect(calls[0]!.options).toEqual({ model: 'art', text: { paths: ['a.jsonl'] }, windows: 8, dense: 'd' })
  })
})

describe('main() on wrong command lines', () => {
  it.each([
    ['compress --sparsity 1.5', '--sparsity: got 1.5, wanted a number in [0, 1), e.g. 0.7'],
    ['compress --experts 12abc', '--experts: got 12abc, wanted a whole number in [1, 256], e.g. 16'],
    ['compress --exprts 4', "unknown option '--exprts' (Did you mean --experts?)"],
    ['comprss', "unknown command 'comprss' (Did you mean compress?)"],
    ['compress a b', "too many arguments for 'compress'. Expected 1 argument but got 2"],
    ['eval', "missing required argument 'model'"],
    ['compress --sparsity 0.5 --pattern 2:4', "cannot be used with option '--sparsity <fraction>'"],
    ['compress --sparsity', "option '--sparsity <fraction>' argument missing"],
    ['compress --text - --eval-text -', 'Cannot read standard input twice'],
    ['eval art --text - --text -', 'Cannot read standard input twice'],
    ['prune-matrix w.safetensors --out o', 'got neither --sparsity nor --pattern'],
    ['forward m --out o', "required option '--input <file>' not specified"],
  ])('%s: one line and exit code 2', async (line, message) => {
    const { code, stdout, stderr } = await runCli(line)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^spexpand: [^\n]*\n$/)
    expect(stderr).toContain(message)
  })

  it('shows the help and exits with 2 when no command is given', async () => {
    const { code, stdout, stderr } = await runCli('')
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain('Usage: spexpand')
    expect(stderr).not.toContain('spexpand: ')
  })
})

describe('main()', () => {
  it('turns library errors into a line, a code and, with --json, an object', async () => {
    const library: Partial<Library> = { evaluate: () => Promise.reject(new FormatError('Cannot read x: got y')) }
    expect(await runCli('eval art', library)).toEqual({
      code: 3,
      stdout: '',
      stderr: 'spexpand: Cannot read x: got y\n',
    })
    const json = await runCli('eval art --json', library)
    expect(JSON.parse(json.stdout)).toEqual({ error: { kind: 'input', message: 'Cannot read x: got y' } })
    expect(json.code).toBe(3)
  })

  it('exits with 130 when the run was interrupted', async () => {
    const library: Partial<Library> = { compress: () => Promise.reject(new InterruptedError('stopped after block 3')) }
    expect((await runCli('compress', library)).code).toBe(130)
  })

  it('calls the unexpected a bug, with its stack', async () => {
    const library: Partial<Library> = { compress: () => Promise.reject(new TypeError('boom')) }
    const { code, stderr } = await runCli('compress', library)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^spexpand: bug: boom\n.*cli\.test\.ts/s)
  })

  it('prints help with examples and exit codes, and the version, without loading the library', async () => {
    for (const name of ['compress', 'plan', 'inspect', 'eval', 'forward', 'prune-matrix']) {
      const { code, stdout, stderr } = await runCli(`${name} --help`)
      expect([name, code, stderr]).toEqual([name, 0, ''])
      expect(stdout).toMatch(/\nExamples?:\n {2}\$ spexpand /)
      expect(stdout).toContain('Exit codes:')
    }
    expect((await runCli('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('spexpand entangle', () => {
  it('passes the options of experiments and prints their medians', async () => {
    const { library, calls } = recorder()
    const { stdout } = await runCli(
      'entangle m --experiment clusters --experiment subset --layer 2 --sparsity 0.5 --sparsity 0.9 --windows 8',
      library,
    )
    expect(calls[0]!.options).toEqual({
      model: 'm',
      experiments: ['clusters', 'subset'],
      layer: 2,
      sparsities: [0.5, 0.9],
      windows: 8,
      native: true,
    })
    expect(stdout).toMatch(/gate +wasserstein +clusters +1.00 +0.400 +1.25 +0.375 +2.00 +0.300/)
    expect(stdout).toMatch(/wd +90.0 % +20.000 ± 1.5 +0.00900/)
  })
})

describe('spexpand plan', () => {
  it('passes a report, and shows the profile that came of it', async () => {
    const { library, calls } = recorder()
    const profile = {
      profileVersion: 1,
      rule: 'by hand',
      layers: [{ experts: 4 }, { experts: 1, sparsity: 0.5 }],
    } as const
    const planned = { ...library, plan: () => Promise.resolve({ ...planResult, profile }) }
    await runCli('plan m --from-report e.json --sparsity-spread 0.05 --profile-out p.json --no-probe', library)
    expect(calls[0]!.options).toMatchObject({ fromReport: 'e.json', sparsitySpread: 0.05, profileOut: 'p.json' })
    const { stdout } = await runCli('plan m', planned)
    expect(stdout).toContain('Profile (by hand):\n  4 experts: layers 0\n  one expert at 50.0 % zeros: layers 1')
  })
})
