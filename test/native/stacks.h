// Random stacks in buffers of exactly their size (a sanitizer sees every byte read beyond), and what they mean.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/half.h"
#include "kernels/stack.h"

namespace test {

using namespace spexpand;

/** xorshift64*: the same numbers everywhere. */
struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15ull + 1) {}
  uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
  }
  long below(long n) { return static_cast<long>(next() % static_cast<uint64_t>(n)); }
  /** Uniform in [-1, 1). */
  float number() { return static_cast<float>(next() >> 40) * 0x1p-23f - 1; }
};

struct Form {
  ValueType type;
  long experts, outputs, inputs;
  double density;
  long groupSize;
};

/** malloc'ed to the byte. */
template <typename T>
struct Exact {
  T* data = nullptr;
  size_t size = 0;
  Exact() = default;
  explicit Exact(const std::vector<T>& from)
      : data(static_cast<T*>(std::malloc(from.size() * sizeof(T)))), size(from.size()) {
    if (size) std::memcpy(data, from.data(), size * sizeof(T));
  }
  Exact(Exact&& other) noexcept : data(other.data), size(other.size) { other.data = nullptr; }
  Exact& operator=(Exact&& other) noexcept {
    std::swap(data, other.data);
    std::swap(size, other.size);
    return *this;
  }
  ~Exact() { std::free(data); }
};

struct Owned {
  Exact<uint8_t> mask;
  Exact<uint8_t> values;  // bytes of any type
  Exact<uint16_t> scales;
  Exact<int64_t> offsets;
  Stack stack = {};
  long stored = 0;             // elements of the values tensor
  std::vector<double> weight;  // (E, N, K) decoded, by a way of its own
};

inline uint16_t narrowBf16(float value) { return static_cast<uint16_t>(floatToBits(value) >> 16); }

/** Appends one value; returns what it decodes to before its scale. */
inline double appendValue(ValueType type, Random& random, std::vector<uint8_t>& bytes, long at) {
  if (type == ValueType::f16 || type == ValueType::bf16) {
    // One in eight far below the others: subnormal f16 among them.
    const float value = random.number() * (random.below(8) ? 1.0f : 1e-6f);
    const uint16_t half = type == ValueType::f16 ? floatToF16(value) : narrowBf16(value);
    bytes.push_back(static_cast<uint8_t>(half));
    bytes.push_back(static_cast<uint8_t>(half >> 8));
    return type == ValueType::f16 ? static_cast<double>(f16ToFloat(half)) : static_cast<double>(bf16ToFloat(half));
  }
  if (type == ValueType::int8) {
    const int value = static_cast<int>(random.below(256)) - 128;
    bytes.push_back(static_cast<uint8_t>(value));
    return value;
  }
  const int value = static_cast<int>(random.below(16)) - 8;
  const auto nibble = static_cast<uint8_t>(value & 15);
  if (at % 2 == 0) bytes.push_back(nibble);
  else bytes.back() = static_cast<uint8_t>(bytes.back() | nibble << 4);
  return value;
}

inline Owned makeStack(const Form& form, Random& random) {
  Owned owned;
  const long maskBytes = (form.inputs + 7) / 8;
  const long rows = form.experts * form.outputs;
  const bool isInteger = form.type == ValueType::int8 || form.type == ValueType::int4;
  const long groups = !isInteger ? 0 : form.groupSize ? (form.inputs + form.groupSize - 1) / form.groupSize : 1;
  std::vector<uint8_t> mask(static_cast<size_t>(rows * maskBytes));
  std::vector<uint8_t> values(form.type == ValueType::int8 || form.type == ValueType::int4 ? 1 : 2);
  std::vector<uint16_t> scales;
  std::vector<int64_t> offsets;
  owned.weight.resize(static_cast<size_t>(rows * form.inputs));
  long next = 1;
  for (long row = 0; row < rows; row++) {
    offsets.push_back(next - 1);
    for (long g = 0; g < groups; g++) scales.push_back(floatToF16(0.001f + 0.01f * std::fabs(random.number())));
    for (long k = 0; k < form.inputs; k++) {
      if (static_cast<double>(random.below(1 << 20)) >= form.density * (1 << 20)) continue;
      mask[static_cast<size_t>(row * maskBytes + k / 8)] |= static_cast<uint8_t>(1 << k % 8);
      const double value = appendValue(form.type, random, values, next++);
      const long group = form.groupSize ? k / form.groupSize : 0;
      const double scale = isInteger ? static_cast<double>(f16ToFloat(scales[static_cast<size_t>(row * groups + group)])) : 1;
      owned.weight[static_cast<size_t>(row * form.inputs + k)] = value * scale;
    }
  }
  owned.mask = Exact<uint8_t>(mask);
  owned.values = Exact<uint8_t>(values);
  owned.scales = Exact<uint16_t>(scales);
  owned.offsets = Exact<int64_t>(offsets);
  owned.stored = form.type == ValueType::int4 ? (next + 1) / 2 : next;
  owned.stack = {form.experts, form.outputs, form.inputs, owned.mask.data, maskBytes, form.type, owned.values.data, next,
                 isInteger ? owned.scales.data : nullptr, isInteger ? groups : 0, form.groupSize, owned.offsets.data};
  return owned;
}

inline const char* nameOf(ValueType type) {
  switch (type) {
    case ValueType::f16: return "f16";
    case ValueType::bf16: return "bf16";
    case ValueType::int8: return "int8";
    case ValueType::int4: return "int4";
  }
  return "";
}

}  // namespace test
