// RegisterCustomOps of libspexpand_ops_cuda: the domain `spexpand` for CUDAExecutionProvider, a library of its own. A
// session has one registration of a domain: this one for CUDA sessions, libspexpand_ops for those of the CPU.
#include <mutex>

#include "cuda/neuron_op.h"
#include "cuda/sparse_op.h"
#include "ops/custom_operator.h"

namespace spexpand {
namespace cuda {

namespace {

bool addAll(const ort::Api& api, ort::CustomOpDomain* domain, Error& error) {
  return addVariants<SparseKernel>(api, domain, kSparseVariants, error) &&
         addVariants<NeuronKernel>(api, domain, kNeuronVariants, error);
}

/** One domain per onnxruntime, which keeps pointers to it. */
ort::CustomOpDomain* domainOnce(const ort::Api& api, Error& error) {
  static std::mutex mutex;
  static const ort::ApiTable* owner = nullptr;
  static ort::CustomOpDomain* domain = nullptr;
  const std::lock_guard<std::mutex> lock(mutex);
  if (owner == api.table()) return domain;
  if (owner) return fail(error, "another onnxruntime of this process has them already"), nullptr;
  ort::CustomOpDomain* made = nullptr;
  if (!took(api, api.CreateCustomOpDomain("spexpand", &made), error)) return nullptr;
  if (!addAll(api, made, error)) return api.ReleaseCustomOpDomain(made), nullptr;
  owner = api.table();
  return domain = made;
}

}  // namespace

}  // namespace cuda
}  // namespace spexpand

extern "C" __attribute__((visibility("default"))) ort::Status* RegisterCustomOps(ort::SessionOptions* options,
                                                                                 const ort::ApiBase* base) {
  using namespace spexpand;
  constexpr const char* kWhat = "the CUDA operators of domain spexpand";
  const ort::ApiTable* table = base->GetApi(ort::kApiVersion);
  Error error;
  if (!table) {
    // Every onnxruntime has version 1, and CreateStatus in it.
    fail(error, "onnxruntime is %s, expected 1.22 or newer", base->GetVersionString());
    return statusOf(ort::Api(base->GetApi(1)), "register", kWhat, error);
  }
  const ort::Api api(table);
  if (!cuda::checkDevice(error)) return statusOf(api, "register", kWhat, error);
  ort::CustomOpDomain* domain = cuda::domainOnce(api, error);
  if (!domain) return statusOf(api, "register", kWhat, error);
  return api.AddCustomOpDomain(options, domain);
}
