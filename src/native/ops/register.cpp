// RegisterCustomOps: the domain `spexpand` with one operator per combination of element types, and `spexpand.internal`.
#include <mutex>

#include "ops/custom_operator.h"
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

bool addAll(const ort::Api& api, ort::CustomOpDomain* domain, Error& error) {
  return addVariants<SparseKernel>(api, domain, kSparseVariants, error) &&
         addVariants<NeuronKernel>(api, domain, kNeuronVariants, error);
}

/** What graphs that are run at once may use: no artifact does. */
bool addInternal(const ort::Api& api, ort::CustomOpDomain* domain, Error& error) {
  return addVariants<DenseKernel>(api, domain, kDenseVariants, error);
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
