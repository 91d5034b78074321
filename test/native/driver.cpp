// Runs the kernels without onnxruntime: isas | compare ISA | fuzz ISA SEED ROUNDS
#include "driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

/** The instruction sets of this processor, one a line. */
int listIsas() {
  for (const char* name : {"scalar", "avx2", "avx512", "amx", "neon", "neon-dot"}) {
    spexpand::Error error;
    if (spexpand::isaNamed(name, error)) std::puts(name);
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const char* command = count > 1 ? arguments[1] : "";
  if (std::strcmp(command, "isas") == 0) return listIsas();
  spexpand::Error error;
  const spexpand::Isa* isa = count > 2 ? spexpand::isaNamed(arguments[2], error) : nullptr;
  if (isa && std::strcmp(command, "compare") == 0) return test::compare(*isa);
  if (isa && std::strcmp(command, "fuzz") == 0 && count > 4)
    return test::fuzz(*isa, std::strtoul(arguments[3], nullptr, 10), std::strtol(arguments[4], nullptr, 10));
  std::fprintf(stderr, "%s\nusage: driver isas | compare ISA | fuzz ISA SEED ROUNDS\n", error.text);
  return 2;
}
