// RegisterCustomOps: the domain `spexpand` with one operator per combination of element types, and `spexpand.internal`.
#include <mutex>
#include <new>

#include "ops/dense_op.h"
#include "ops/neuron_op.h"
#include "ops/sparse_op.h"

#ifdef _WIN32
#define SPEXPAND_EXPORT __declspec(dllexport)
#else
#define SPEXPAND_EXPORT __attribute__((visibility("default")))
#endif

namespace spexpand {

namespace {

ort::ElementType elementOf(ValueType type) {
  switch (type) {
    case ValueType::f16: return ort::kFloat16;
    case ValueType::bf16: return ort::kBfloat16;
    case ValueType::int8: return ort::kInt8;
    case ValueType::int4: return ort::kUint8;  // two in a byte
  }
  return ort::kUndefined;
}

ort::ElementType elementOf(DenseType type) {
  return type == DenseType::f32 ? ort::kFloat : type == DenseType::f16 ? ort::kFloat16 : ort::kBfloat16;
}

ort::ElementType inputType(const SparseVariant& variant, size_t index) {
  if (index == 0) return variant.isHalf ? ort::kFloat16 : ort::kFloat;
  if (index == 1 || index == variant.offsetsInput()) return ort::kInt64;
  if (index == 2) return ort::kUint8;
  return index == 3 ? elementOf(variant.values) : ort::kFloat16;
}

size_t inputCount(const SparseVariant& variant) { return variant.inputCount(); }

ort::ElementType inputType(const NeuronVariant& variant, size_t index) {
  if (index == 0) return variant.isHalf ? ort::kFloat16 : ort::kFloat;
  return index == 1 ? ort::kInt64 : elementOf(variant.weights);
}

size_t inputCount(const NeuronVariant&) { return 5; }

ort::ElementType inputType(const DenseVariant& variant, size_t index) {
  return index == 0 ? ort::kFloat : elementOf(variant.weights);
}

size_t inputCount(const DenseVariant&) { return 2; }

/** The functions that onnxruntime calls, for a kernel class and its variant. */
template <typename Kernel, typename Variant>
struct Op : ort::CustomOp {
  Variant variant;

  explicit Op(const Variant& of) : variant(of) {
    GetName = [](const ort::CustomOp* op) { return self(op).variant.name(); };
    GetExecutionProviderType = [](const ort::CustomOp*) -> const char* { return "CPUExecutionProvider"; };
    GetInputType = [](const ort::CustomOp* op, size_t index) { return inputType(self(op).variant, index); };
    GetInputTypeCount = [](const ort::CustomOp* op) { return inputCount(self(op).variant); };
    GetOutputType = [](const ort::CustomOp* op, size_t) { return inputType(self(op).variant, 0); };
    GetOutputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
    GetInputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    GetOutputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
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

using SparseOp = Op<SparseKernel, SparseVariant>;
using NeuronOp = Op<NeuronKernel, NeuronVariant>;
using DenseOp = Op<DenseKernel, DenseVariant>;

template <typename OpOf, size_t count>
bool add(const ort::Api& api, ort::CustomOpDomain* domain, const OpOf (&ops)[count], Error& error) {
  for (const OpOf& op : ops)
    if (!took(api, api.CustomOpDomain_Add(domain, static_cast<const ort::CustomOp*>(&op)), error)) return false;
  return true;
}

/** Every type that an artifact can hold: a type without a kernel would keep its model from loading. */
bool addAll(const ort::Api& api, ort::CustomOpDomain* domain, Error& error) {
  static const SparseOp sparse[] = {
      SparseOp({false, false, ValueType::f16}), SparseOp({false, true, ValueType::f16}),
      SparseOp({false, false, ValueType::bf16}), SparseOp({false, true, ValueType::bf16}),
      SparseOp({true, false, ValueType::int8}), SparseOp({true, true, ValueType::int8}),
      SparseOp({true, false, ValueType::int4}), SparseOp({true, true, ValueType::int4}),
  };
  static const NeuronOp neuron[] = {
      NeuronOp({false, DenseType::f32}), NeuronOp({false, DenseType::f16}), NeuronOp({false, DenseType::bf16}),
      NeuronOp({true, DenseType::f32}), NeuronOp({true, DenseType::f16}), NeuronOp({true, DenseType::bf16}),
  };
  return add(api, domain, sparse, error) && add(api, domain, neuron, error);
}

/** What graphs that are run at once may use: no artifact does. */
bool addInternal(const ort::Api& api, ort::CustomOpDomain* domain, Error& error) {
  static const DenseOp dense[] = {DenseOp({DenseType::f32}), DenseOp({DenseType::f16}), DenseOp({DenseType::bf16})};
  return add(api, domain, dense, error);
}

using AddOps = bool (*)(const ort::Api& api, ort::CustomOpDomain* domain, Error& error);

ort::CustomOpDomain* createDomain(const ort::Api& api, const char* name, AddOps addOps, Error& error) {
  ort::CustomOpDomain* domain = nullptr;
  if (!took(api, api.CreateCustomOpDomain(name, &domain), error)) return nullptr;
  if (addOps(api, domain, error)) return domain;
  api.ReleaseCustomOpDomain(domain);
  return nullptr;
}

struct Domains {
  ort::CustomOpDomain* ops;
  ort::CustomOpDomain* internal;
};

/** The same domains for all sessions of an onnxruntime, which keeps pointers to them. A process may hold several. */
const Domains* domainsOnce(const ort::Api& api, Error& error) {
  struct Known {
    const ort::ApiTable* table;
    Domains domains;
  };
  constexpr size_t kMost = 8;
  static std::mutex mutex;
  static Known known[kMost] = {};
  static size_t count = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  for (size_t i = 0; i < count; i++)
    if (known[i].table == api.table()) return &known[i].domains;
  if (count == kMost) return fail(error, "more than %zu onnxruntimes in one process", kMost), nullptr;
  ort::CustomOpDomain* ops = createDomain(api, "spexpand", addAll, error);
  if (!ops) return nullptr;
  ort::CustomOpDomain* internal = createDomain(api, "spexpand.internal", addInternal, error);
  if (!internal) return api.ReleaseCustomOpDomain(ops), nullptr;
  known[count] = {api.table(), {ops, internal}};
  return &known[count++].domains;
}

}  // namespace

}  // namespace spexpand

extern "C" SPEXPAND_EXPORT ort::Status* RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
  const ort::ApiTable* table = base->GetApi(ort::kApiVersion);
  if (!table) {
    // Every onnxruntime has version 1, and CreateStatus in it.
    spexpand::Error error;
    spexpand::fail(error, "onnxruntime is %s, expected 1.22 or newer", base->GetVersionString());
    return spexpand::statusOf(ort::Api(base->GetApi(1)), "register", "the operators of domain spexpand", error);
  }
  const ort::Api api(table);
  spexpand::Error error;
  const spexpand::Domains* domains = spexpand::domainsOnce(api, error);
  if (!domains) return spexpand::statusOf(api, "register", "the operators of domain spexpand", error);
  ort::Status* status = api.AddCustomOpDomain(options, domains->ops);
  return status ? status : api.AddCustomOpDomain(options, domains->internal);
}
