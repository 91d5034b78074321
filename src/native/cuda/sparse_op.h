// SparseExpertMatMul and SparseExpertMatMulInteger for CUDAExecutionProvider: checks around launch.h.
#pragma once

#include <atomic>

#include "cuda/launch.h"
#include "ops/shapes.h"

namespace spexpand {
namespace cuda {

/** One operator with its element types fixed; onnxruntime picks by the types of the node. */
struct SparseVariant {
  bool isInteger;
  bool isHalf;  // x and y
  ValueType values;

  const char* name() const { return isInteger ? "SparseExpertMatMulInteger" : "SparseExpertMatMul"; }
  size_t inputCount() const { return isInteger ? 6 : 5; }
  ort::ElementType inputType(size_t index) const;
};

/** A node. Shapes are checked in every run, the content of a constant stack in the first, that of others in every. */
class SparseKernel {
 public:
  SparseKernel(const ort::Api& api, const SparseVariant& variant) : api_(api), variant_(variant) {}
  SparseKernel(const SparseKernel&) = delete;
  SparseKernel& operator=(const SparseKernel&) = delete;
  ~SparseKernel() { freeNotice(notice_); }

  bool create(const ort::KernelInfo* info, Error& error);
  bool compute(ort::KernelContext* context, Error& error);
  const ort::Api& api() const { return api_; }
  const SparseVariant& variant() const { return variant_; }

 private:
  bool verify(const Stack& stack, long stored, void* stream, Error& error);

  const ort::Api api_;
  const SparseVariant variant_;
  Notice notice_;
  /** accuracy_level allows rounding, it does not ask for it: inputs stay as they are. */
  IntegerAttributes attributes_;
  bool isConstant_ = false;
  /** The mask whose stack has been verified. */
  std::atomic<const void*> verified_{nullptr};
};

}  // namespace cuda
}  // namespace spexpand
