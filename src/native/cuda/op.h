// What the operators for CUDAExecutionProvider share.
#pragma once

#include "ops/ort_kernel.h"

namespace spexpand {
namespace cuda {

constexpr const char* kProviderName = "CUDAExecutionProvider";

/** The stream on which onnxruntime computes. */
inline bool streamOf(const ort::Api& api, const ort::KernelContext* context, void*& stream, Error& error) {
  return took(api, api.KernelContext_GetGPUComputeStream(context, &stream), error);
}

}  // namespace cuda
}  // namespace spexpand
