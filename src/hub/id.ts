/** A model on the hub: a repository, and the one GGUF file of it that is meant, if any. */
export type HubId = { readonly repository: string; readonly file?: string }

// huggingface_hub's rule for names: letters, digits, '-', '_', '.', neither '--' nor '..', at most 96 in a name.
const PART = '(?![-.])(?!\\S*(?:--|\\.\\.))[\\w.-]{1,96}(?<![-.])'
const ID = new RegExp(`^(?:hf:)?(${PART}/${PART})(?:/((?:[\\w.-]+/)*[\\w.-]+\\.gguf))?$`, 'i')

/** Reads 'owner/name', 'hf:owner/name' or 'owner/name/file.gguf'; undefined for anything else. */
export function parseHubId(text: string): HubId | undefined {
  const [, repository, file] = ID.exec(text) ?? []
  if (repository === undefined || file?.split('/').includes('..')) return undefined
  return { repository, ...(file === undefined ? {} : { file }) }
}
