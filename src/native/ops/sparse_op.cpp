#include "ops/sparse_op.h"

#include <new>

#include "kernels/scratch.h"
#include "kernels/verify.h"

namespace spexpand {

bool SparseKernel::create(const ort::KernelInfo* info, Error& error) {
  isa_ = chooseIsa(error);
  if (!isa_) return false;
  if (variant_.isInteger && !readAttributes(api_, info, variant_.values, attributes_, error)) return false;
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

bool SparseKernel::readStack(const Tensor* tensors, Stack& stack, Error& error) const {
  return readStackShapes(tensors, variant_.values, attributes_.groupSize, stack, error) &&
         completeStack(stack, static_cast<long>(tensors[kValues].shape[0]), error);
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
  if (!setInputs(x, stack, error) || !checkTokens(x, expert, error)) return false;
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
  const SparseMatMul product{&stack, tokens, x.data, experts, y, variant_.isHalf, attributes_.accuracyLevel == 4};
  return sparseMatMul(*isa_, pool.parallel(), product, error);
}

}  // namespace spexpand
