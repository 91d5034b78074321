// fuzz ISA SEED ROUNDS: stacks with something wrong. Whatever it is, the checks name it, or it does no harm: the
// sanitizers watch the product of every stack that passes.
#include <cstdio>
#include <limits>

#include "driver.h"
#include "kernels/sparse_matmul.h"
#include "kernels/verify.h"
#include "stacks.h"

namespace test {

namespace {

void serial(void*, void (*body)(void*, size_t), size_t count, void* data) {
  for (size_t i = 0; i < count; i++) body(data, i);
}

int64_t hostileNumber(Random& random, int64_t around) {
  constexpr int64_t kEdges[] = {-1, 0, 1, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(),
                                int64_t{1} << 31, int64_t{1} << 32, int64_t{1} << 62};
  switch (random.below(4)) {
    case 0: return kEdges[random.below(8)];
    case 1: return static_cast<int64_t>(random.next());
    default: return around + random.below(7) - 3;
  }
}

struct Hostile {
  Owned owned;
  std::vector<int64_t> expert;
  /** What must be refused: the change is not one that leaves another correct stack. */
  bool isSurelyWrong = false;
};

/** One change of one thing. */
void spoil(Hostile& it, Random& random) {
  Owned& owned = it.owned;
  const long rows = owned.stack.experts * owned.stack.outputs;
  switch (random.below(7)) {
    case 0: {
      int64_t& offset = owned.offsets.data[random.below(rows)];
      const int64_t before = offset;
      offset = hostileNumber(random, before);
      it.isSurelyWrong = offset != before;
      break;
    }
    case 1: {
      const long byte = random.below(static_cast<long>(owned.mask.size));
      owned.mask.data[byte] ^= static_cast<uint8_t>(1 << random.below(8));
      // In the last row, int4 may have a nibble to spare, or spare one: another correct stack.
      it.isSurelyWrong = owned.stack.type != ValueType::int4 || byte / owned.stack.maskBytes + 1 < rows;
      break;
    }
    case 2: {
      // The tensor says another length; its bytes are as many.
      std::vector<uint8_t> bytes(owned.values.data, owned.values.data + owned.values.size);
      const long each = owned.stack.type == ValueType::int8 || owned.stack.type == ValueType::int4 ? 1 : 2;
      owned.stored += random.below(2) && owned.stored > 1 ? -1 : 1;
      bytes.resize(static_cast<size_t>(owned.stored * each));
      owned.values = Exact<uint8_t>(bytes);
      owned.stack.values = owned.values.data;
      it.isSurelyWrong = true;
      break;
    }
    case 3:
      it.expert[static_cast<size_t>(random.below(static_cast<long>(it.expert.size())))] =
          random.below(2) ? owned.stack.experts + random.below(3) : -1 - random.below(3);
      it.isSurelyWrong = true;
      break;
    case 4:
      if (owned.values.size) owned.values.data[random.below(static_cast<long>(owned.values.size))] ^= static_cast<uint8_t>(random.next());
      break;
    case 5:
      if (owned.scales.size) {
        owned.scales.data[random.below(static_cast<long>(owned.scales.size))] = 0x7e00;
        it.isSurelyWrong = true;
      }
      break;
    default: break;  // nothing: correct stacks must pass
  }
}

/** The order of the operator. Every expert occurs, so everything is looked at. */
bool run(const Isa& isa, Hostile& it, bool rounds, Error& error) {
  Stack& stack = it.owned.stack;
  const auto tokens = static_cast<long>(it.expert.size());
  if (!completeStack(stack, it.owned.stored, error)) return false;
  if (!checkExperts(it.expert.data(), tokens, stack.experts, error)) return false;
  for (const int64_t e : it.expert)
    if (!verifyExpert(isa, stack, static_cast<long>(e), error)) return false;
  const std::vector<float> x(static_cast<size_t>(tokens * stack.inputs), 0.5f);
  std::vector<float> y(static_cast<size_t>(tokens * stack.outputs));
  return sparseMatMul(isa, {nullptr, serial}, {&stack, tokens, x.data(), it.expert.data(), y.data(), false, rounds}, error);
}

}  // namespace

int fuzz(const Isa& isa, unsigned long seed, long rounds) {
  Random random(seed);
  long refused = 0;
  long ran = 0;
  long missed = 0;
  for (long round = 0; round < rounds; round++) {
    const auto type = static_cast<ValueType>(random.below(4));
    const long groups[] = {0, 32, 64, 128};
    const bool isInteger = type == ValueType::int8 || type == ValueType::int4;
    const Form form{type, 1 + random.below(3), 1 + random.below(20), 1 + random.below(150),
                    static_cast<double>(random.below(11)) / 10, isInteger ? groups[random.below(4)] : 0};
    Hostile it;
    it.owned = makeStack(form, random);
    for (long e = 0; e < form.experts; e++) it.expert.push_back(e);
    for (long t = random.below(3) ? 0 : 40; t > 0; t--) it.expert.push_back(0);
    spoil(it, random);
    Error error;
    if (run(isa, it, random.below(2), error)) {
      ran++;
      if (it.isSurelyWrong) {
        missed++;
        std::printf("MISSED round %ld %s E %ld N %ld K %ld\n", round, nameOf(type), form.experts, form.outputs, form.inputs);
      }
    } else {
      refused++;
      if (!error) missed++;
    }
  }
  std::printf("%s: %ld refused, %ld ran, %ld missed\n", isa.name, refused, ran, missed);
  return missed == 0 && refused > 0 && ran > 0 ? 0 : 1;
}

}  // namespace test
