// An operator as onnxruntime sees it: the functions that it calls, for a kernel class and one of its variants.
#pragma once

#include <new>
#include <utility>

#include "ops/ort_kernel.h"

namespace spexpand {

/**
 * Kernel has create(info, error), compute(context, error), api(), variant(), the type Variant (ops/variants.h) and the
 * name kProvider of the execution provider that it is for.
 */
template <typename Kernel>
struct CustomOperator : ort::CustomOp {
  using Variant = typename Kernel::Variant;
  Variant variant;

  explicit CustomOperator(const Variant& of) : variant(of) {
    GetName = [](const ort::CustomOp* op) { return self(op).variant.name(); };
    GetExecutionProviderType = [](const ort::CustomOp*) { return Kernel::kProvider; };
    GetInputType = [](const ort::CustomOp* op, size_t index) { return self(op).variant.inputType(index); };
    GetInputTypeCount = [](const ort::CustomOp* op) { return self(op).variant.inputCount(); };
    GetOutputType = [](const ort::CustomOp* op, size_t) { return self(op).variant.inputType(0); };
    GetOutputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
    GetInputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    GetOutputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    // Where the provider computes: an input for the host would make onnxruntime wait for a device.
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
    // Older paths of onnxruntime look at these two even where the ones above are set.
    CreateKernel = nullptr;
    KernelCompute = nullptr;
  }

  static const CustomOperator& self(const ort::CustomOp* op) { return *static_cast<const CustomOperator*>(op); }

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

template <typename Kernel, size_t count, size_t... index>
bool addEach(const ort::Api& api, ort::CustomOpDomain* domain, const typename Kernel::Variant (&variants)[count],
             std::index_sequence<index...>, Error& error) {
  static const CustomOperator<Kernel> ops[] = {CustomOperator<Kernel>(variants[index])...};
  for (const ort::CustomOp& op : ops)
    if (!took(api, api.CustomOpDomain_Add(domain, &op), error)) return false;
  return true;
}

/** Adds an operator for each variant. onnxruntime keeps pointers to them: they live as long as the process. */
template <typename Kernel, size_t count>
bool addVariants(const ort::Api& api, ort::CustomOpDomain* domain, const typename Kernel::Variant (&variants)[count],
                 Error& error) {
  return addEach<Kernel>(api, domain, variants, std::make_index_sequence<count>(), error);
}

}  // namespace spexpand
