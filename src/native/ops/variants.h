// The operators of our domains with their element types fixed; onnxruntime picks by the types of the node.
#pragma once

#include "kernels/isa.h"
#include "kernels/stack.h"
#include "ort/api.h"

namespace spexpand {

inline ort::ElementType elementOf(ValueType type) {
  switch (type) {
    case ValueType::f16: return ort::kFloat16;
    case ValueType::bf16: return ort::kBfloat16;
    case ValueType::int8: return ort::kInt8;
    case ValueType::int4: return ort::kUint8;  // two in a byte
  }
  return ort::kUndefined;
}

inline ort::ElementType elementOf(DenseType type) {
  return type == DenseType::f32 ? ort::kFloat : type == DenseType::f16 ? ort::kFloat16 : ort::kBfloat16;
}

/** x, expert, mask, values, scales where there are any, row_offsets. */
struct SparseVariant {
  bool isInteger;
  bool isHalf;  // x and y
  ValueType values;

  const char* name() const { return isInteger ? "SparseExpertMatMulInteger" : "SparseExpertMatMul"; }
  size_t inputCount() const { return isInteger ? 6 : 5; }
  size_t offsetsInput() const { return inputCount() - 1; }

  ort::ElementType inputType(size_t index) const {
    if (index == 0) return isHalf ? ort::kFloat16 : ort::kFloat;
    if (index == 1 || index == offsetsInput()) return ort::kInt64;
    if (index == 2) return ort::kUint8;
    return index == 3 ? elementOf(values) : ort::kFloat16;
  }
};

/** x, index, gate, up, down. */
struct NeuronVariant {
  bool isHalf;  // x and y
  DenseType weights;

  const char* name() const { return "NeuronSubsetFFN"; }
  size_t inputCount() const { return 5; }

  ort::ElementType inputType(size_t index) const {
    if (index == 0) return isHalf ? ort::kFloat16 : ort::kFloat;
    return index == 1 ? ort::kInt64 : elementOf(weights);
  }
};

/** x, W. */
struct DenseVariant {
  DenseType weights;

  const char* name() const { return "DenseMatMul"; }
  size_t inputCount() const { return 2; }
  ort::ElementType inputType(size_t index) const { return index == 0 ? ort::kFloat : elementOf(weights); }
};

/** Every type that an artifact can hold: a type without a kernel would keep its model from loading. */
constexpr SparseVariant kSparseVariants[] = {
    {false, false, ValueType::f16}, {false, true, ValueType::f16}, {false, false, ValueType::bf16},
    {false, true, ValueType::bf16}, {true, false, ValueType::int8}, {true, true, ValueType::int8},
    {true, false, ValueType::int4}, {true, true, ValueType::int4},
};
constexpr NeuronVariant kNeuronVariants[] = {
    {false, DenseType::f32}, {false, DenseType::f16}, {false, DenseType::bf16},
    {true, DenseType::f32},  {true, DenseType::f16},  {true, DenseType::bf16},
};
constexpr DenseVariant kDenseVariants[] = {{DenseType::f32}, {DenseType::f16}, {DenseType::bf16}};

}  // namespace spexpand
