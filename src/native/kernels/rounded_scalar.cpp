// Rounding in plain C++: the twin of what the instruction sets do, to the bit.
#include "kernels/rounded.h"

#include <cmath>
#include <cstring>

#include "kernels/half.h"

namespace spexpand::scalar {

namespace {

// Adding 1.5 · 2²³ leaves the nearest integer (ties to even) in the low bits: no call, and it vectorises everywhere.
constexpr float kRounder = 12582912.0f;

float largest(const float* x, long count) {
  uint32_t most = 0;  // magnitudes order like their bits, NaN above all
  for (long i = 0; i < count; i++) {
    const uint32_t bits = floatToBits(x[i]) & 0x7fffffff;
    most = bits > most ? bits : most;
  }
  return bitsToFloat(most);
}

float roundBlock(const float* x, long count, int8_t* rounded) {
  const float most = largest(x, count);
  if (!(most < INFINITY)) {
    std::memset(rounded, 0, static_cast<size_t>(count));
    return NAN;
  }
  const float inverse = most > kLeastBlock ? 127.0f / most : 0.0f;
  for (long i = 0; i < count; i++)
    rounded[i] = static_cast<int8_t>(static_cast<int32_t>(floatToBits(x[i] * inverse + kRounder)) -
                                     static_cast<int32_t>(floatToBits(kRounder)));
  return most > kLeastBlock ? most / 127.0f : 0.0f;
}

void correctStep(const int8_t* rounded, long stepInputs, int offset, int32_t* corrections) {
  for (long l = 0; l < 16; l++) {
    int sum = 0;
    for (long chunk = 0; chunk < stepInputs; chunk += 64)
      for (long i = 0; i < 4; i++) sum += rounded[chunk + 4 * l + i];
    corrections[l] = -offset * sum;
  }
}

}  // namespace

void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections) {
  const long inputs = rounding.blockInputs;
  for (long block = 0; block < rounding.padded / inputs; block++)
    scales[block] = roundBlock(x + block * inputs, inputs, rounded + block * inputs);
  const long step = stepInputsOf(inputs);
  for (long i = 0; i < rounding.padded / step; i++)
    correctStep(rounded + i * step, step, rounding.offset, corrections + i * 16);
}

}  // namespace spexpand::scalar
