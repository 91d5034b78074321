// NeuronSubsetFFN: checks around kernels/neuron_ffn.h.
#pragma once

#include "kernels/neuron_ffn.h"
#include "ops/ort_kernel.h"
#include "ops/variants.h"

namespace spexpand {

class NeuronKernel {
 public:
  using Variant = NeuronVariant;
  static constexpr const char* kProvider = "CPUExecutionProvider";

  NeuronKernel(const ort::Api& api, const NeuronVariant& variant) : api_(api), variant_(variant) {}

  bool create(const ort::KernelInfo* info, Error& error);
  bool compute(ort::KernelContext* context, Error& error);
  const ort::Api& api() const { return api_; }
  const NeuronVariant& variant() const { return variant_; }

 private:
  const ort::Api api_;
  const NeuronVariant variant_;
  const Isa* isa_ = nullptr;
};

}  // namespace spexpand
