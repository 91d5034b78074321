#include "cuda/sparse_op.h"

#include "cuda/op.h"

namespace spexpand {
namespace cuda {

namespace {

// Inputs, in order: x, expert, mask, values, [scales,] row_offsets.
constexpr size_t kX = 0, kExpert = 1, kMask = 2, kValues = 3, kScales = 4, kMostInputs = 6;
// Far above any layer, far below where products of sizes leave 64 bits.
constexpr int64_t kMostDimension = 1 << 30;

bool hasShape(const Tensor& tensor, size_t rank, int64_t first, int64_t second) {
  return tensor.rank == rank && tensor.shape[0] == first && tensor.shape[1] == second;
}

/** expert has the shape of x without its last dimension. */
bool checkTokens(const Tensor& x, const Tensor& expert, Error& error) {
  bool isSame = expert.rank + 1 == x.rank;
  for (size_t i = 0; isSame && i < expert.rank; i++) isSame = expert.shape[i] == x.shape[i];
  return isSame || fail(error, "expert has %lld elements in %zu dimensions, expected the shape of x without its last",
                        static_cast<long long>(expert.size()), expert.rank);
}

}  // namespace

ort::ElementType SparseVariant::inputType(size_t index) const {
  if (index == kX) return isHalf ? ort::kFloat16 : ort::kFloat;
  if (index == kExpert || index + 1 == inputCount()) return ort::kInt64;
  if (index == kMask) return ort::kUint8;
  if (index == kScales) return ort::kFloat16;
  switch (values) {
    case ValueType::f16: return ort::kFloat16;
    case ValueType::bf16: return ort::kBfloat16;
    case ValueType::int8: return ort::kInt8;
    case ValueType::int4: return ort::kUint8;  // two in a byte
  }
  return ort::kUndefined;
}

bool SparseKernel::create(const ort::KernelInfo* info, Error& error) {
  if (variant_.isInteger && !readAttributes(info, error)) return false;
  isConstant_ = true;
  for (size_t i = kMask; i < variant_.inputCount(); i++) {
    Tensor tensor;
    bool isConstant = false;
    if (!readConstant(api_, info, i, isConstant, tensor, error)) return false;
    isConstant_ = isConstant_ && isConstant;
  }
  return makeNotice(notice_, error);
}

/** accuracy_level allows rounding, it does not ask for it: inputs stay as they are. */
bool SparseKernel::readAttributes(const ort::KernelInfo* info, Error& error) {
  int64_t bits = 0;
  int64_t accuracy = 0;
  if (!readInteger(api_, info, "bits", bits, error) || !readInteger(api_, info, "group_size", groupSize_, error) ||
      !readInteger(api_, info, "accuracy_level", accuracy, error))
    return false;
  const int64_t wanted = variant_.values == ValueType::int8 ? 8 : 4;
  if (bits != wanted)
    return fail(error, "attribute bits is %lld, %s values want %lld", static_cast<long long>(bits),
                wanted == 8 ? "int8" : "uint8", static_cast<long long>(wanted));
  if (groupSize_ < 0 || groupSize_ % 32 != 0 || groupSize_ > kMostDimension)
    return fail(error, "attribute group_size is %lld, expected 0 or a multiple of 32",
                static_cast<long long>(groupSize_));
  return accuracy == 0 || accuracy == 4 ||
         fail(error, "attribute accuracy_level is %lld, expected 0 or 4", static_cast<long long>(accuracy));
}

/** Shapes only: the data are on the device. */
bool SparseKernel::readStack(const Tensor* tensors, Stack& stack, Error& error) const {
  const Tensor& x = tensors[kX];
  const Tensor& mask = tensors[kMask];
  const Tensor& values = tensors[kValues];
  const Tensor& offsets = tensors[variant_.inputCount() - 1];
  if (mask.rank != 3) return fail(error, "mask has %zu dimensions, expected 3", mask.rank);
  const int64_t E = mask.shape[0];
  const int64_t N = mask.shape[1];
  for (int i = 0; i < 3; i++)
    if (mask.shape[i] < 1 || mask.shape[i] > kMostDimension)
      return fail(error, "mask is (%lld, %lld, %lld), expected at least one of each", static_cast<long long>(E),
                  static_cast<long long>(N), static_cast<long long>(mask.shape[2]));
  const int64_t K = x.rank ? x.shape[x.rank - 1] : 0;
  if ((K + 7) / 8 != mask.shape[2])
    return fail(error, "x has %lld inputs, mask has %lld bytes per row, expected %lld", static_cast<long long>(K),
                static_cast<long long>(mask.shape[2]), static_cast<long long>((K + 7) / 8));
  if (!hasShape(offsets, 2, E, N))
    return fail(error, "row_offsets has %lld elements in %zu dimensions, expected (%lld, %lld)",
                static_cast<long long>(offsets.size()), offsets.rank, static_cast<long long>(E),
                static_cast<long long>(N));
  if (values.rank != 1 || values.shape[0] < 1)
    return fail(error, "values has %lld elements in %zu dimensions, expected a list that begins with 0",
                static_cast<long long>(values.size()), values.rank);
  stack = {};
  stack.experts = static_cast<long>(E);
  stack.outputs = static_cast<long>(N);
  stack.inputs = static_cast<long>(K);
  stack.mask = static_cast<const uint8_t*>(mask.data);
  stack.maskBytes = static_cast<long>(mask.shape[2]);
  stack.type = variant_.values;
  stack.values = values.data;
  stack.rowOffsets = static_cast<const int64_t*>(offsets.data);
  if (!variant_.isInteger) return true;
  const Tensor& scales = tensors[kScales];
  stack.groupSize = static_cast<long>(groupSize_);
  stack.groups = groupSize_ ? (stack.inputs + stack.groupSize - 1) / stack.groupSize : 1;
  stack.scales = static_cast<const uint16_t*>(scales.data);
  return (hasShape(scales, 3, E, N) && scales.shape[2] == stack.groups) ||
         fail(error, "scales has %lld elements in %zu dimensions, expected (%lld, %lld, %ld)",
              static_cast<long long>(scales.size()), scales.rank, static_cast<long long>(E), static_cast<long long>(N),
              stack.groups);
}

/**
 * Waits for the device: in the first run of a model whose weights are constants, as artifacts are, and never after.
 * The data of other inputs may change behind the same pointer, so they are checked in every run.
 */
bool SparseKernel::verify(const Stack& stack, long stored, void* stream, Error& error) {
  if (isConstant_ && verified_.load(std::memory_order_acquire) == stack.mask) return true;
  if (!verifyStack(stack, stored, stream, error)) return false;
  verified_.store(stack.mask, std::memory_order_release);
  return true;
}

bool SparseKernel::compute(ort::KernelContext* context, Error& error) {
  Tensor tensors[kMostInputs];
  for (size_t i = 0; i < variant_.inputCount(); i++)
    if (!readInput(api_, context, i, tensors[i], error)) return false;
  Stack stack;
  void* stream = nullptr;
  const Tensor& x = tensors[kX];
  if (!readStack(tensors, stack, error) || !checkTokens(x, tensors[kExpert], error) ||
      !streamOf(api_, context, stream, error) || !readNotice(notice_, "expert", "experts", stack.experts - 1, error) ||
      !verify(stack, static_cast<long>(tensors[kValues].shape[0]), stream, error))
    return false;
  void* y = nullptr;
  int64_t shape[kMostDimensions];
  for (size_t i = 0; i < x.rank; i++) shape[i] = x.shape[i];
  shape[x.rank - 1] = stack.outputs;
  if (!makeOutput(api_, context, shape, x.rank, y, error)) return false;
  const Tensor& expert = tensors[kExpert];
  const Product product{static_cast<long>(expert.size()), x.data, static_cast<const int64_t*>(expert.data), y,
                        notice_.device};
  return runProduct(stack, product, variant_.isHalf, stream, error);
}

}  // namespace cuda
}  // namespace spexpand
