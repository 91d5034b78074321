import { fileURLToPath } from 'node:url'

/** The data lie in calibration/ of the package, seen from calibration/ (tests) and from dist/calibration/ (built). */
const FOLDER = import.meta.url.endsWith('.ts') ? './' : '../../calibration/'

/** Folder of the embedded demo model, the default of every command that takes a model. */
export function demoModelFolder(): string {
  return bundled('demo-model')
}

/** The text that `compress` calibrates on by default: about 2.6 MB of five domains (corpora/PROVENANCE.md). */
export function calibrationCorpus(): string {
  return bundled('corpora/calibration.jsonl')
}

/** The held-out text that quality is measured on by default: about 450 kB, no document of the calibration text. */
export function evaluationCorpus(): string {
  return bundled('corpora/evaluation.jsonl')
}

function bundled(path: string): string {
  return fileURLToPath(new URL(FOLDER + path, import.meta.url))
}
