#include "runtime.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

namespace spexpand {

std::string take_message(const ort::Api& api, ort::Status* status) {
  if (!status) return {};
  std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  return message;
}

static bool load(const std::string& path, Runtime* runtime, std::string* error) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (!library) {
    *error = "onnxruntime is not loaded from " + path + ": import onnxruntime-node first";
    return false;
  }
  const auto get_base = reinterpret_cast<ort::GetApiBaseFn>(dlsym(library, "OrtGetApiBase"));
  const ort::ApiBase* base = get_base ? get_base() : nullptr;
  const ort::ApiTable* table = base ? base->GetApi(ort::kApiVersion) : nullptr;
  if (!table) {
    *error = path + " has no API of version " + std::to_string(ort::kApiVersion) + ": wanted onnxruntime 1.22 or later";
    return false;
  }
  runtime->version = base->GetVersionString();
  runtime->api = new ort::Api(table);
  // Beside the binding's own environment: onnxruntime counts the references to the one that there is.
  *error = take_message(*runtime->api, runtime->api->CreateEnv(ort::kError, "spexpand", &runtime->env));
  return error->empty();
}

const Runtime* runtime_at(const std::string& path, std::string* error) {
  static std::mutex mutex;
  // Never freed: at exit, onnxruntime may be gone before the statics of this library are.
  static auto* runtimes = new std::map<std::string, Runtime*>();
  const std::lock_guard<std::mutex> lock(mutex);
  Runtime*& known = (*runtimes)[path];
  if (known) return known;
  auto* fresh = new Runtime();
  if (load(path, fresh, error)) known = fresh;
  else delete fresh;
  return known;
}

}  // namespace spexpand
