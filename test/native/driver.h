// The commands of the test driver.
#pragma once

#include "kernels/isa.h"

namespace test {

int compare(const spexpand::Isa& isa);
int fuzz(const spexpand::Isa& isa, unsigned long seed, long rounds);

}  // namespace test
