// NeuronSubsetFFN for CUDAExecutionProvider: checks around launch.h.
#pragma once

#include "cuda/launch.h"
#include "cuda/op.h"
#include "ops/ort_kernel.h"
#include "ops/variants.h"

namespace spexpand {
namespace cuda {

class NeuronKernel {
 public:
  using Variant = NeuronVariant;
  static constexpr const char* kProvider = kProviderName;

  NeuronKernel(const ort::Api& api, const NeuronVariant& variant) : api_(api), variant_(variant) {}
  NeuronKernel(const NeuronKernel&) = delete;
  NeuronKernel& operator=(const NeuronKernel&) = delete;
  ~NeuronKernel() { freeNotice(notice_); }

  bool create(const ort::KernelInfo* info, Error& error);
  bool compute(ort::KernelContext* context, Error& error);
  const ort::Api& api() const { return api_; }
  const NeuronVariant& variant() const { return variant_; }

 private:
  const ort::Api api_;
  const NeuronVariant variant_;
  Notice notice_;
};

}  // namespace cuda
}  // namespace spexpand
