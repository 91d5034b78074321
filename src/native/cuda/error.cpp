// This library does not link the CPU kernels; their error text is all that it shares.
#include <cstdarg>
#include <cstdio>

#include "kernels/stack.h"

namespace spexpand {

bool fail(Error& error, const char* format, ...) {
  if (error) return false;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error.text, sizeof error.text, format, arguments);
  va_end(arguments);
  return false;
}

}  // namespace spexpand
