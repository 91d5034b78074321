#include "ops/sparse_op.h"

#include <new>

#include "kernels/scratch.h"
#include "kernels/verify.h"

namespace spexpand {

namespace {

// Inputs, in order: x, expert, mask, values, [scales,] row_offsets.
constexpr size_t kX = 0;
constexpr size_t kExpert = 1;
constexpr size_t kMask = 2;
constexpr size_t kValues = 3;
constexpr size_t kScales = 4;
constexpr size_t kMostInputs = 6;
// Sums of 8-bit products must fit 32 bits within a block, sizes 64 bits: nothing near these limits is a real layer.
constexpr int64_t kMostDimension = 1 << 30;

bool isGroupSize(int64_t size) { return size == 0 || (size > 0 && size % 32 == 0 && size <= kMostDimension); }

/** expert has the shape of x without its last dimension. */
bool checkTokens(const Tensor& x, const Tensor& expert, long inputs, Error& error) {
  if (x.rank == 0 || x.shape[x.rank - 1] != inputs)
    return fail(error, "x has %lld inputs, mask has bytes for a last dimension of %ld",
                static_cast<long long>(x.rank ? x.shape[x.rank - 1] : 0), inputs);
  bool isSame = expert.rank + 1 == x.rank;
  for (size_t i = 0; isSame && i < expert.rank; i++) isSame = expert.shape[i] == x.shape[i];
  return isSame || fail(error, "expert has %lld elements in %zu dimensions, expected the shape of x without its last",
                        static_cast<long long>(expert.size()), expert.rank);
}

}  // namespace

bool SparseKernel::create(const ort::KernelInfo* info, Error& error) {
  isa_ = chooseIsa(error);
  if (!isa_) return false;
  if (variant_.isInteger) {
    if (!readInteger(api_, info, "bits", bits_, error) || !readInteger(api_, info, "group_size", groupSize_, error) ||
        !readInteger(api_, info, "accuracy_level", accuracyLevel_, error))
      return false;
    const int64_t bits = variant_.values == ValueType::int8 ? 8 : 4;
    if (bits_ != bits)
      return fail(error, "attribute bits is %lld, %s values want %lld", static_cast<long long>(bits_),
                  bits == 8 ? "int8" : "uint8", static_cast<long long>(bits));
    if (!isGroupSize(groupSize_))
      return fail(error, "attribute group_size is %lld, expected 0 or a multiple of 32",
                  static_cast<long long>(groupSize_));
    if (accuracyLevel_ != 0 && accuracyLevel_ != 4)
      return fail(error, "attribute accuracy_level is %lld, expected 0 or 4", static_cast<long long>(accuracyLevel_));
  }
  Tensor tensors[kMostInputs];
  isConstant_ = true;
  for (size_t i = kMask; i < variant_.inputCount(); i++) {
    bool isConstant = false;
    if (!readConstant(api_, info, i, isConstant, tensors[i], error)) return false;
    isConstant_ = isConstant_ && isConstant;
  }
  if (!isConstant_) return true;
  if (!readStack(tensors, stack_, error)) return false;
  verified_.reset(new (std::nothrow) std::atomic<bool>[static_cast<size_t>(stack_.experts)]());
  return verified_ || fail(error, "out of memory for %ld experts", stack_.experts);
}

/** K is not in the shapes of a stack: it is set per run, between 8 · maskBytes − 7 and 8 · maskBytes. */
bool SparseKernel::readStack(const Tensor* tensors, Stack& stack, Error& error) const {
  const Tensor& mask = tensors[kMask];
  const Tensor& values = tensors[kValues];
  const Tensor& offsets = tensors[variant_.offsetsInput()];
  if (mask.rank != 3) return fail(error, "mask has %zu dimensions, expected 3", mask.rank);
  const int64_t E = mask.shape[0];
  const int64_t N = mask.shape[1];
  for (int i = 0; i < 3; i++)
    if (mask.shape[i] < 1 || mask.shape[i] > kMostDimension)
      return fail(error, "mask is (%lld, %lld, %lld), expected at least one of each", static_cast<long long>(E),
                  static_cast<long long>(N), static_cast<long long>(mask.shape[2]));
  if (offsets.rank != 2 || offsets.shape[0] != E || offsets.shape[1] != N)
    return fail(error, "row_offsets has %lld elements in %zu dimensions, expected (%lld, %lld)",
                static_cast<long long>(offsets.size()), offsets.rank, static_cast<long long>(E),
                static_cast<long long>(N));
  if (values.rank != 1 || values.shape[0] < 1)
    return fail(error, "values has %lld elements in %zu dimensions, expected a list that begins with 0",
                static_cast<long long>(values.size()), values.rank);
  stack = {};
  stack.experts = static_cast<long>(E);
  stack.outputs = static_cast<long>(N);
  stack.maskBytes = static_cast<long>(mask.shape[2]);
  stack.mask = static_cast<const uint8_t*>(mask.data);
  stack.type = variant_.values;
  stack.values = values.data;
  stack.rowOffsets = static_cast<const int64_t*>(offsets.data);
  stack.groupSize = static_cast<long>(groupSize_);
  if (variant_.isInteger) {
    const Tensor& scales = tensors[kScales];
    if (scales.rank != 3 || scales.shape[0] != E || scales.shape[1] != N || scales.shape[2] < 1)
      return fail(error, "scales has %lld elements in %zu dimensions, expected (%lld, %lld, groups)",
                  static_cast<long long>(scales.size()), scales.rank, static_cast<long long>(E),
                  static_cast<long long>(N));
    stack.groups = static_cast<long>(scales.shape[2]);
    stack.scales = static_cast<const uint16_t*>(scales.data);
  }
  return completeStack(stack, static_cast<long>(values.shape[0]), error);
}

bool SparseKernel::stackOf(ort::KernelContext* context, Stack& stack, Error& error) const {
  if (isConstant_) {
    stack = stack_;
    return true;
  }
  Tensor tensors[kMostInputs];
  for (size_t i = kMask; i < variant_.inputCount(); i++)
    if (!readInput(api_, context, i, tensors[i], error)) return false;
  return readStack(tensors, stack, error);
}

/**
 * Experts of a constant stack are checked once, on first use: loading does not touch weights that are never used. The
 * data of other inputs may change behind the same pointer, so they are checked on every run.
 */
bool SparseKernel::verifyUsed(const Parallel& parallel, const Stack& stack, const int64_t* expert, int64_t tokens,
                              Error& error) {
  const auto experts = static_cast<size_t>(stack.experts);
  auto* wanted = static_cast<long*>(threadScratch<13>(experts * (sizeof(long) + 1)));
  if (!wanted) return fail(error, "out of memory for %ld experts", stack.experts);
  auto* isWanted = reinterpret_cast<bool*>(wanted + experts);
  for (size_t e = 0; e < experts; e++) isWanted[e] = !isConstant_ || !verified_[e].load(std::memory_order_acquire);
  long count = 0;
  for (int64_t t = 0; t < tokens; t++) {
    if (!isWanted[expert[t]]) continue;
    isWanted[expert[t]] = false;
    wanted[count++] = static_cast<long>(expert[t]);
  }
  if (!verifyExperts(*isa_, parallel, stack, wanted, count, error)) return false;
  for (long i = 0; isConstant_ && i < count; i++)
    verified_[static_cast<size_t>(wanted[i])].store(true, std::memory_order_release);
  return true;
}

bool SparseKernel::compute(ort::KernelContext* context, Error& error) {
  Tensor x;
  Tensor expert;
  Stack stack;
  if (!readInput(api_, context, kX, x, error) || !readInput(api_, context, kExpert, expert, error) ||
      !stackOf(context, stack, error))
    return false;
  stack.inputs = x.rank ? static_cast<long>(x.shape[x.rank - 1]) : 0;
  if ((stack.inputs + 7) / 8 != stack.maskBytes)
    return fail(error, "x has %ld inputs, mask has %ld bytes per row, expected %ld", stack.inputs, stack.maskBytes,
                (stack.inputs + 7) / 8);
  if (!checkTokens(x, expert, stack.inputs, error)) return false;
  const long groups = groupSize_ ? (stack.inputs + stack.groupSize - 1) / stack.groupSize : 1;
  if (variant_.isInteger && stack.groups != groups)
    return fail(error, "scales has %ld groups per row, expected %ld", stack.groups, groups);

  const auto* experts = static_cast<const int64_t*>(expert.data);
  const auto tokens = static_cast<long>(expert.size());
  if (!checkExperts(experts, tokens, stack.experts, error)) return false;
  PoolOf pool{api_, context};
  if (!verifyUsed(pool.parallel(), stack, experts, tokens, error)) return false;

  void* y = nullptr;
  int64_t shape[kMostDimensions];
  for (size_t i = 0; i < x.rank; i++) shape[i] = x.shape[i];
  shape[x.rank - 1] = stack.outputs;
  if (!makeOutput(api_, context, shape, x.rank, y, error)) return false;
  const SparseMatMul product{&stack, tokens, x.data, experts, y, variant_.isHalf, accuracyLevel_ == 4};
  return sparseMatMul(*isa_, pool.parallel(), product, error);
}

}  // namespace spexpand
