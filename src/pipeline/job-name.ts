import type { Job } from './jobs.ts'

/** Jobs that may be run again after a crash: they compute something new, or count the rows they have changed (Written). */
const REPEATABLE: readonly Job['kind'][] = [
  'embed',
  'attention',
  'denseFfn',
  'gram',
  'solve',
  'intermediate',
  'propagate',
  'propagateDown',
  'moments',
  'project',
  'route',
  'placement',
  'mapping',
]

/** Whether a job may be run again on another thread when the first one died of it. */
export function isRepeatable({ kind }: Job): boolean {
  return REPEATABLE.includes(kind)
}

/** What a job works on, for messages: 'solve of layer 3 gate_proj and up_proj, expert 2'. */
export function jobName(job: Job): string {
  const layer = 'layer' in job ? ` of layer ${job.layer}` : ''
  switch (job.kind) {
    case 'solve':
      return `solve${layer} ${job.matrices.join(' and ')}, ${job.label}`
    case 'gram':
      return `gram${layer} ${job.source}, ${job.rows.length} tokens from ${job.rows[0] ?? 0}`
    case 'embed':
      return `embed, tokens from ${job.firstRow}`
    case 'attention':
    case 'denseFfn':
      return `${job.kind}${layer}, tokens from ${job.firstRow}`
    case 'moments':
    case 'project':
    case 'route':
      return `${job.kind}, tokens ${job.start} to ${job.end}`
    default:
      return 'rows' in job && 'length' in job.rows
        ? `${job.kind}${layer}, ${job.rows.length} tokens from ${job.rows[0] ?? 0}`
        : `${job.kind}${layer}`
  }
}
