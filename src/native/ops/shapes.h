// Shapes and attributes of the operators, checked alike for the CPU and for CUDA.
#pragma once

#include "kernels/stack.h"
#include "ops/ort_kernel.h"

namespace spexpand {

// Inputs of the sparse products, in order: x, expert, mask, values, [scales,] row_offsets.
constexpr size_t kX = 0, kExpert = 1, kMask = 2, kValues = 3, kScales = 4, kMostInputs = 6;
// Those of NeuronSubsetFFN.
constexpr size_t kIndex = 1, kGate = 2, kUp = 3, kDown = 4, kNeuronInputs = 5;

// Sums of 8-bit products must fit 32 bits within a block, sizes 64 bits: nothing near these limits is a real layer.
constexpr int64_t kMostDimension = 1 << 30;

/** Attributes of SparseExpertMatMulInteger. */
struct IntegerAttributes {
  int64_t bits = 0;
  int64_t groupSize = 0;
  int64_t accuracyLevel = 0;
};

inline bool readAttributes(const ort::Api& api, const ort::KernelInfo* info, ValueType type,
                           IntegerAttributes& attributes, Error& error) {
  if (!readInteger(api, info, "bits", attributes.bits, error) ||
      !readInteger(api, info, "group_size", attributes.groupSize, error) ||
      !readInteger(api, info, "accuracy_level", attributes.accuracyLevel, error))
    return false;
  const int64_t bits = type == ValueType::int8 ? 8 : 4;
  if (attributes.bits != bits)
    return fail(error, "attribute bits is %lld, %s values want %lld", static_cast<long long>(attributes.bits),
                bits == 8 ? "int8" : "uint8", static_cast<long long>(bits));
  const int64_t group = attributes.groupSize;
  if (group < 0 || group % 32 != 0 || group > kMostDimension)
    return fail(error, "attribute group_size is %lld, expected 0 or a multiple of 32", static_cast<long long>(group));
  return attributes.accuracyLevel == 0 || attributes.accuracyLevel == 4 ||
         fail(error, "attribute accuracy_level is %lld, expected 0 or 4",
              static_cast<long long>(attributes.accuracyLevel));
}

/** expert has the shape of x without its last dimension. */
inline bool checkTokens(const Tensor& x, const Tensor& expert, Error& error) {
  bool isSame = expert.rank + 1 == x.rank;
  for (size_t i = 0; isSame && i < expert.rank; i++) isSame = expert.shape[i] == x.shape[i];
  return isSame || fail(error, "expert has %lld elements in %zu dimensions, expected the shape of x without its last",
                        static_cast<long long>(expert.size()), expert.rank);
}

/** What the shapes of the tensors of a stack tell: all but K, which setInputs() takes from x, and the number of values. */
inline bool readStackShapes(const Tensor* tensors, ValueType type, int64_t groupSize, Stack& stack, Error& error) {
  const bool isInteger = type == ValueType::int8 || type == ValueType::int4;
  const Tensor& mask = tensors[kMask];
  const Tensor& values = tensors[kValues];
  const Tensor& offsets = tensors[isInteger ? kScales + 1 : kScales];
  if (mask.rank != 3) return fail(error, "mask has %zu dimensions, expected 3", mask.rank);
  const auto E = static_cast<long long>(mask.shape[0]);
  const auto N = static_cast<long long>(mask.shape[1]);
  for (int i = 0; i < 3; i++)
    if (mask.shape[i] < 1 || mask.shape[i] > kMostDimension)
      return fail(error, "mask is (%lld, %lld, %lld), expected at least one of each", E, N,
                  static_cast<long long>(mask.shape[2]));
  if (offsets.rank != 2 || offsets.shape[0] != E || offsets.shape[1] != N)
    return fail(error, "row_offsets has %lld elements in %zu dimensions, expected (%lld, %lld)",
                static_cast<long long>(offsets.size()), offsets.rank, E, N);
  if (values.rank != 1 || values.shape[0] < 1)
    return fail(error, "values has %lld elements in %zu dimensions, expected a list that begins with 0",
                static_cast<long long>(values.size()), values.rank);
  stack = {};
  stack.experts = static_cast<long>(E);
  stack.outputs = static_cast<long>(N);
  stack.maskBytes = static_cast<long>(mask.shape[2]);
  stack.mask = static_cast<const uint8_t*>(mask.data);
  stack.type = type;
  stack.values = values.data;
  stack.rowOffsets = static_cast<const int64_t*>(offsets.data);
  if (!isInteger) return true;
  const Tensor& scales = tensors[kScales];
  if (scales.rank != 3 || scales.shape[0] != E || scales.shape[1] != N || scales.shape[2] < 1)
    return fail(error, "scales has %lld elements in %zu dimensions, expected (%lld, %lld, groups)",
                static_cast<long long>(scales.size()), scales.rank, E, N);
  stack.groupSize = static_cast<long>(groupSize);
  stack.groups = static_cast<long>(scales.shape[2]);
  stack.scales = static_cast<const uint16_t*>(scales.data);
  return true;
}

/** K is not in the shapes of a stack: it lies between 8 · maskBytes − 7 and 8 · maskBytes. */
inline bool setInputs(const Tensor& x, Stack& stack, Error& error) {
  stack.inputs = x.rank ? static_cast<long>(x.shape[x.rank - 1]) : 0;
  if ((stack.inputs + 7) / 8 != stack.maskBytes)
    return fail(error, "x has %ld inputs, mask has %ld bytes per row, expected %ld", stack.inputs, stack.maskBytes,
                (stack.inputs + 7) / 8);
  if (!stack.scales) return true;
  const long groups = stack.groupSize ? (stack.inputs + stack.groupSize - 1) / stack.groupSize : 1;
  return stack.groups == groups || fail(error, "scales has %ld groups per row, expected (%ld, %ld, %ld)", stack.groups,
                                        stack.experts, stack.outputs, groups);
}

inline bool checkNeuronShapes(const Tensor* inputs, Error& error) {
  const Tensor& x = inputs[kX];
  const Tensor& gate = inputs[kGate];
  const Tensor& up = inputs[kUp];
  const Tensor& down = inputs[kDown];
  if (inputs[kIndex].rank != 1) return fail(error, "idx has %zu dimensions, expected 1", inputs[kIndex].rank);
  if (gate.rank != 2 || x.rank == 0 || gate.shape[1] != x.shape[x.rank - 1])
    return fail(error, "gate has %zu dimensions and %lld elements, expected (neurons, inputs of x)", gate.rank,
                static_cast<long long>(gate.size()));
  if (up.rank != 2 || up.shape[0] != gate.shape[0] || up.shape[1] != gate.shape[1])
    return fail(error, "up has %zu dimensions and %lld elements, expected (%lld, %lld) as gate", up.rank,
                static_cast<long long>(up.size()), static_cast<long long>(gate.shape[0]),
                static_cast<long long>(gate.shape[1]));
  return (down.rank == 2 && down.shape[0] == gate.shape[0]) ||
         fail(error, "down has %zu dimensions and %lld elements, expected (%lld, outputs)", down.rank,
              static_cast<long long>(down.size()), static_cast<long long>(gate.shape[0]));
}

}  // namespace spexpand
