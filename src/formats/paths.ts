/**
 * Whether `name`, found inside a file, stays in the folder of that file on every system: relative, with '/', without
 * '..', drive letter or NUL. (A symbolic link may still lead out.)
 */
export function isInsideFolder(name: string): boolean {
  return name !== '' && !name.split('/').some((part) => part === '' || part === '..') && !/[\\:\0]/.test(name)
}
