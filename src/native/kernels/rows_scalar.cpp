// The kernels in plain C++: what every other instruction set is tested against, and what runs where there is none.
#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/panel.h"
#include "kernels/rounded.h"

namespace spexpand {

namespace scalar {
void roundInputs(const Rounding& rounding, const float* x, int8_t* rounded, float* scales, int32_t* corrections);
}  // namespace scalar

namespace {

float valueAt(const Stack& stack, long at) {
  switch (stack.type) {
    case ValueType::f16: return f16ToFloat(static_cast<const uint16_t*>(stack.values)[at]);
    case ValueType::bf16: return bf16ToFloat(static_cast<const uint16_t*>(stack.values)[at]);
    case ValueType::int8: return static_cast<const int8_t*>(stack.values)[at];
    case ValueType::int4: return static_cast<float>(nibbleAt(static_cast<const uint8_t*>(stack.values), at));
  }
  return 0;
}

int integerAt(const Stack& stack, long at) {
  if (stack.type == ValueType::int8) return static_cast<const int8_t*>(stack.values)[at];
  return nibbleAt(static_cast<const uint8_t*>(stack.values), at);
}

bool isKept(const uint8_t* mask, long k) { return mask[k >> 3] >> (k & 7) & 1; }

float scaleAt(const Stack& stack, long row, long k) {
  if (!stack.scales) return 1;
  return f16ToFloat(stack.scales[row * stack.groups + (stack.groupSize ? k / stack.groupSize : 0)]);
}

void decodeRow(const Stack& stack, long row, float* out, long padded, void*) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  long at = stack.rowBegin(row);
  for (long k = 0; k < stack.inputs; k++) out[k] = isKept(mask, k) ? valueAt(stack, at++) * scaleAt(stack, row, k) : 0;
  for (long k = stack.inputs; k < padded; k++) out[k] = 0;
}

float halfDot(const Stack& stack, long row, const float* x) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  long at = stack.rowBegin(row);
  float sum = 0;
  for (long k = 0; k < stack.inputs; k++)
    if (isKept(mask, k)) sum += valueAt(stack, at++) * x[k];
  return sum;
}

float integerDot(const Stack& stack, long row, const Inputs& inputs, long token) {
  const uint8_t* mask = stack.mask + row * stack.maskBytes;
  const int8_t* x = inputs.rounded + token * inputs.padded;
  const float* blockScales = inputs.blockScales + token * (inputs.padded / inputs.blockInputs);
  long at = stack.rowBegin(row);
  float sum = 0;
  for (long first = 0; first < stack.inputs; first += inputs.blockInputs) {
    const long end = first + inputs.blockInputs < stack.inputs ? first + inputs.blockInputs : stack.inputs;
    int products = 0;
    for (long k = first; k < end; k++)
      if (isKept(mask, k)) products += integerAt(stack, at++) * x[k];
    sum += static_cast<float>(products) * (scaleAt(stack, row, first) * blockScales[first / inputs.blockInputs]);
  }
  return sum;
}

void halfRows(const RowsTask& task) {
  for (long r = 0; r < task.rows; r++)
    for (long t = 0; t < task.tokenCount; t++)
      task.y[task.tokens[t] * task.yStride + task.column + r] =
          halfDot(*task.stack, task.row + r, task.inputs->f32 + task.tokens[t] * task.inputs->padded);
}

void integerRows(const RowsTask& task) {
  for (long r = 0; r < task.rows; r++)
    for (long t = 0; t < task.tokenCount; t++)
      task.y[task.tokens[t] * task.yStride + task.column + r] =
          integerDot(*task.stack, task.row + r, *task.inputs, task.tokens[t]);
}

float denseAt(DenseType type, const void* weights, long at) {
  switch (type) {
    case DenseType::f32: return static_cast<const float*>(weights)[at];
    case DenseType::f16: return f16ToFloat(static_cast<const uint16_t*>(weights)[at]);
    case DenseType::bf16: return bf16ToFloat(static_cast<const uint16_t*>(weights)[at]);
  }
  return 0;
}

float dot(DenseType type, const void* weights, const float* x, long count) {
  float sum = 0;
  for (long i = 0; i < count; i++) sum += denseAt(type, weights, i) * x[i];
  return sum;
}

void axpy(DenseType type, float a, const void* weights, float* y, long count) {
  for (long i = 0; i < count; i++) y[i] += a * denseAt(type, weights, i);
}

long countBits(const uint8_t* mask, long bytes) {
  long count = 0;
  for (long i = 0; i < bytes; i++) count += __builtin_popcount(mask[i]);
  return count;
}

bool allFinite(const uint16_t* numbers, long count, uint16_t exponent) {
  int bad = 0;
  for (long i = 0; i < count; i++) bad |= (numbers[i] & exponent) == exponent;
  return bad == 0;
}

struct Single {
  using Type = float;
  static constexpr long kWidth = 1;
  static Type load(const float* p) { return *p; }
  static void store(float* p, Type v) { *p = v; }
  static Type broadcast(float x) { return x; }
  static Type fma(Type a, Type b, Type c) { return a * b + c; }
};

void panel(const PanelTask& task) { FloatPanel<Single, 4, 1>::run(task, decodeRow); }

}  // namespace

const Isa kScalar = {"scalar",
                     9,
                     9,
                     false,
                     halfRows,
                     scalar::roundInputs,
                     integerRows,
                     decodeRow,
                     kFloatTileBytes,
                     packFloatTile,
                     panel,
                     dot,
                     axpy,
                     countBits,
                     allFinite};

}  // namespace spexpand
