// SparseExpertMatMul and SparseExpertMatMulInteger for CUDAExecutionProvider: checks around launch.h.
#pragma once

#include <atomic>

#include "cuda/launch.h"
#include "cuda/op.h"
#include "ops/shapes.h"
#include "ops/variants.h"

namespace spexpand {
namespace cuda {

/** A node. Shapes are checked in every run, the content of a constant stack in the first, that of others in every. */
class SparseKernel {
 public:
  using Variant = SparseVariant;
  static constexpr const char* kProvider = kProviderName;

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
