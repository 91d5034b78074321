// SparseExpertMatMul and SparseExpertMatMulInteger: checks around kernels/sparse_matmul.h.
#pragma once

#include <atomic>
#include <memory>

#include "kernels/sparse_matmul.h"
#include "ops/shapes.h"
#include "ops/variants.h"

namespace spexpand {

/** A node: what does not change between runs is checked once, experts when they are first used. */
class SparseKernel {
 public:
  using Variant = SparseVariant;
  static constexpr const char* kProvider = "CPUExecutionProvider";

  SparseKernel(const ort::Api& api, const SparseVariant& variant) : api_(api), variant_(variant) {}

  bool create(const ort::KernelInfo* info, Error& error);
  bool compute(ort::KernelContext* context, Error& error);
  const ort::Api& api() const { return api_; }
  const SparseVariant& variant() const { return variant_; }

 private:
  bool readStack(const Tensor* tensors, Stack& stack, Error& error) const;
  bool stackOf(ort::KernelContext* context, Stack& stack, Error& error) const;
  bool verifyUsed(const Parallel& parallel, const Stack& stack, const int64_t* expert, int64_t tokens, Error& error);

  const ort::Api api_;
  const SparseVariant variant_;
  const Isa* isa_ = nullptr;
  IntegerAttributes attributes_;
  bool isConstant_ = false;
  Stack stack_ = {};
  std::unique_ptr<std::atomic<bool>[]> verified_;  // (experts), for a constant stack
};

}  // namespace spexpand
