#include "cuda/sparse_op.h"

#include "ops/shapes.h"

namespace spexpand {
namespace cuda {

bool SparseKernel::create(const ort::KernelInfo* info, Error& error) {
  if (variant_.isInteger && !readAttributes(api_, info, variant_.values, attributes_, error)) return false;
  isConstant_ = true;
  for (size_t i = kMask; i < variant_.inputCount(); i++) {
    Tensor tensor;
    bool isConstant = false;
    if (!readConstant(api_, info, i, isConstant, tensor, error)) return false;
    isConstant_ = isConstant_ && isConstant;
  }
  return makeNotice(notice_, error);
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
  // Shapes only: the data are on the device.
  if (!readStackShapes(tensors, variant_.values, attributes_.groupSize, stack, error) ||
      !setInputs(x, stack, error) || !checkTokens(x, tensors[kExpert], error) ||
      !streamOf(api_, context, stream, error) || !readNotice(notice_, "expert", "experts", stack.experts - 1, error) ||
      !verify(stack, static_cast<long>(tensors[kValues].shape[0]), stream, error))
    return false;
  // As many as there is room for: nothing is read behind it.
  stack.valueCount = static_cast<long>(tensors[kValues].shape[0]) * (stack.type == ValueType::int4 ? 2 : 1);
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
