// NeuronSubsetFFN for CUDAExecutionProvider: checks around launch.h.
#pragma once

#include "cuda/launch.h"
#include "ops/ort_kernel.h"

namespace spexpand {
namespace cuda {

struct NeuronVariant {
  bool isHalf;  // x and y
  DenseType weights;

  const char* name() const { return "NeuronSubsetFFN"; }
  size_t inputCount() const { return 5; }
  ort::ElementType inputType(size_t index) const;
};

class NeuronKernel {
 public:
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
