// An operator for CUDAExecutionProvider: the functions that onnxruntime calls, for a kernel class and its variant.
#pragma once

#include <new>

#include "ops/ort_kernel.h"

namespace spexpand {
namespace cuda {

constexpr const char* kProvider = "CUDAExecutionProvider";

/**
 * Kernel has create(info, error), compute(context, error), api() and variant(); Variant has name(), inputCount() and
 * inputType(index).
 */
template <typename Kernel, typename Variant>
struct Op : ort::CustomOp {
  Variant variant;

  explicit Op(const Variant& of) : variant(of) {
    GetName = [](const ort::CustomOp* op) { return self(op).variant.name(); };
    GetExecutionProviderType = [](const ort::CustomOp*) { return kProvider; };
    GetInputType = [](const ort::CustomOp* op, size_t index) { return self(op).variant.inputType(index); };
    GetInputTypeCount = [](const ort::CustomOp* op) { return self(op).variant.inputCount(); };
    GetOutputType = [](const ort::CustomOp* op, size_t) { return self(op).variant.inputType(0); };
    GetOutputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
    GetInputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    GetOutputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    // All on the device: an input for the host would make onnxruntime wait for it.
    GetInputMemoryType = [](const ort::CustomOp*, size_t) { return ort::kMemDefault; };
    GetVariadicInputMinArity = [](const ort::CustomOp*) { return 1; };
    GetVariadicInputHomogeneity = [](const ort::CustomOp*) { return 1; };
    GetVariadicOutputMinArity = [](const ort::CustomOp*) { return 1; };
    GetVariadicOutputHomogeneity = [](const ort::CustomOp*) { return 1; };
    GetStartVersion = [](const ort::CustomOp*) { return 1; };
    GetEndVersion = [](const ort::CustomOp*) { return 1; };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
  }

  static const Op& self(const ort::CustomOp* op) { return *static_cast<const Op*>(op); }

  static ort::Status* create(const ort::CustomOp* op, const ort::ApiTable* table, const ort::KernelInfo* info,
                             void** out) {
    const ort::Api api(table);
    const Variant& variant = self(op).variant;
    Error error;
    auto* kernel = new (std::nothrow) Kernel(api, variant);
    if (!kernel) fail(error, "out of memory");
    else if (kernel->create(info, error)) return *out = kernel, nullptr;
    delete kernel;
    return statusOf(api, "load", variant.name(), error);
  }

  static ort::Status* compute(void* self, ort::KernelContext* context) {
    auto* kernel = static_cast<Kernel*>(self);
    Error error;
    if (kernel->compute(context, error)) return nullptr;
    return statusOf(kernel->api(), "run", kernel->variant().name(), error);
  }
};

/** The stream on which onnxruntime computes. */
inline bool streamOf(const ort::Api& api, const ort::KernelContext* context, void*& stream, Error& error) {
  return took(api, api.KernelContext_GetGPUComputeStream(context, &stream), error);
}

}  // namespace cuda
}  // namespace spexpand
