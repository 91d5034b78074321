// DenseMatMul of domain spexpand.internal: a dense product on the tiles of gemm/. No part of any artifact: graphs that this
// tool builds for itself and runs at once use it, so its signature may change with any version.
#pragma once

#include "kernels/isa.h"
#include "ops/ort_kernel.h"
#include "ops/variants.h"

namespace spexpand {

/** y (…, N) = x (…, K) · Wᵀ: x and y f32, W (N, K) f32, f16 or bf16. Attribute fast: as of spexpand_sgemm(). */
class DenseKernel {
 public:
  using Variant = DenseVariant;
  static constexpr const char* kProvider = "CPUExecutionProvider";

  DenseKernel(const ort::Api& api, const DenseVariant& variant) : api_(api), variant_(variant) {}

  bool create(const ort::KernelInfo* info, Error& error);
  bool compute(ort::KernelContext* context, Error& error);
  const ort::Api& api() const { return api_; }
  const DenseVariant& variant() const { return variant_; }

 private:
  const ort::Api api_;
  const DenseVariant variant_;
  bool isFast_ = false;
};

}  // namespace spexpand
