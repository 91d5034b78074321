import { EXIT_CODES } from '../../src/errors.ts'

/** What each exit code says, for `--help`; the numbers are those of src/errors.ts. */
export const EXIT_CODES_HELP = `
Exit codes:
  0 done                      ${EXIT_CODES.numerical} numerical failure
  ${EXIT_CODES.bug} bug                       ${EXIT_CODES.gate} a gate failed
  ${EXIT_CODES.usage} wrong command or option   ${EXIT_CODES.integrity} files changed or do not belong together
  ${EXIT_CODES.input} bad input                 ${EXIT_CODES.network} network
  ${EXIT_CODES.unsupported} unsupported here          ${EXIT_CODES.interrupted} interrupted (143: by SIGTERM); the same command goes on
  ${EXIT_CODES.resources} out of disk or memory`
