// Sessions of onnxruntime's CPU provider with our operators registered; src/runtime/provider.ts offers them to
// onnxruntime-node under the name 'spexpand'.
#include "runtime.h"
#include "tensors.h"
#include "values.h"

#include <atomic>
#include <mutex>

using namespace spexpand;

namespace {

struct Handle {
  const Runtime* runtime;
  ort::Session* session;
};

void close_session(Handle* handle) {
  if (handle->session) handle->runtime->api->ReleaseSession(handle->session);
  handle->session = nullptr;
}

void free_handle(napi_env, void* data, void*) {
  auto* handle = static_cast<Handle*>(data);
  close_session(handle);
  delete handle;
}

/** The open session of a handle, or null with an exception pending. */
Handle* handle_of(napi_env env, napi_value value) {
  void* data = nullptr;
  if (napi_get_value_external(env, value, &data) != napi_ok) {
    throw_error(env, "Cannot use a session: wanted what createSession() gave");
    return nullptr;
  }
  auto* handle = static_cast<Handle*>(data);
  if (handle->session) return handle;
  throw_error(env, "Cannot use a session: it was released");
  return nullptr;
}

struct Options {
  std::string runtime, operators;
  double threads = 0, optimization = 0, log_severity = 0;
  bool arena = true, pattern = true;
  std::vector<std::pair<std::string, std::string>> config;
};

bool get_flag(napi_env env, napi_value object, const char* name, bool* out) {
  napi_value value;
  if (!get_named(env, object, name, &value)) return false;
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  return throw_error(env, "Cannot read an argument: wanted a boolean") != nullptr;
}

bool read_options(napi_env env, napi_value given, Options* out) {
  napi_value config;
  std::vector<napi_value> entries;
  if (!get_named_string(env, given, "runtime", &out->runtime) ||
      !get_named_string(env, given, "operators", &out->operators) ||
      !get_named_number(env, given, "threads", &out->threads) ||
      !get_named_number(env, given, "optimization", &out->optimization) ||
      !get_named_number(env, given, "logSeverity", &out->log_severity) ||
      !get_flag(env, given, "memoryArena", &out->arena) || !get_flag(env, given, "memoryPattern", &out->pattern) ||
      !get_named(env, given, "config", &config) || !get_elements(env, config, &entries))
    return false;
  for (napi_value entry : entries) {
    std::vector<napi_value> pair;
    std::pair<std::string, std::string> text;
    if (!get_elements(env, entry, &pair)) return false;
    if (pair.size() != 2) return throw_error(env, "Cannot read an argument: wanted [key, value]");
    if (!get_string(env, pair[0], &text.first) || !get_string(env, pair[1], &text.second)) return false;
    out->config.push_back(text);
  }
  return true;
}

/** Applies the options; the message of the first that onnxruntime refuses. */
std::string apply(const ort::Api& api, const Options& options, ort::SessionOptions* target) {
  std::vector<ort::Status*> statuses = {
      api.SetIntraOpNumThreads(target, int(options.threads)),
      api.SetInterOpNumThreads(target, 1),
      api.SetSessionExecutionMode(target, ort::kSequential),
      api.SetSessionGraphOptimizationLevel(target, static_cast<ort::GraphOptimizationLevel>(int(options.optimization))),
      api.SetSessionLogSeverityLevel(target, int(options.log_severity)),
      options.arena ? api.EnableCpuMemArena(target) : api.DisableCpuMemArena(target),
      options.pattern ? api.EnableMemPattern(target) : api.DisableMemPattern(target),
  };
  for (const auto& entry : options.config)
    statuses.push_back(api.AddSessionConfigEntry(target, entry.first.c_str(), entry.second.c_str()));
  statuses.push_back(api.RegisterCustomOpsLibrary_V2(target, options.operators.c_str()));
  std::string first;
  for (ort::Status* status : statuses) {
    const std::string message = take_message(api, status);
    if (first.empty()) first = message;
  }
  return first;
}

/**
 * The first session of a process is opened alone: onnxruntime enters the domains of custom operators into a list of the whole
 * process, looks first whether they are there, and fails when another thread enters them in between.
 */
class FirstAlone {
 public:
  FirstAlone() {
    if (!isOpen().load()) lock_ = std::unique_lock<std::mutex>(mutex());
  }
  void opened() { isOpen().store(true); }

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  static std::atomic<bool>& isOpen() {
    static std::atomic<bool> one{false};
    return one;
  }
  std::unique_lock<std::mutex> lock_;
};

std::string open(const Runtime& runtime, const Options& options, const std::string& path, const Bytes& bytes,
                 ort::Session** out) {
  const ort::Api& api = *runtime.api;
  FirstAlone turn;
  ort::SessionOptions* target = nullptr;
  std::string error = take_message(api, api.CreateSessionOptions(&target));
  if (error.empty()) error = apply(api, options, target);
  if (error.empty())
    error = take_message(api, path.empty()
                                  ? api.CreateSessionFromArray(runtime.env, bytes.data, bytes.size, target, out)
                                  : api.CreateSession(runtime.env, path.c_str(), target, out));
  if (target) api.ReleaseSessionOptions(target);
  if (error.empty()) turn.opened();
  return error;
}

/** createSession(options): see NativeSessionOptions in src/runtime/native.ts. */
napi_value create_session(napi_env env, napi_callback_info info) {
  const napi_value given = arguments(env, info, 1)[0];
  Options options;
  napi_value model;
  if (!read_options(env, given, &options) || !get_named(env, given, "model", &model)) return nullptr;
  napi_valuetype kind;
  napi_typeof(env, model, &kind);
  std::string path;
  Bytes bytes;
  if (!(kind == napi_string ? get_string(env, model, &path) : get_bytes(env, model, &bytes))) return nullptr;
  std::string error;
  const Runtime* runtime = runtime_at(options.runtime, &error);
  if (!runtime) return throw_error(env, error);
  auto* handle = new Handle{runtime, nullptr};
  error = open(*runtime, options, path, bytes, &handle->session);
  napi_value external = nullptr;
  if (error.empty() && napi_create_external(env, handle, free_handle, nullptr, &external) == napi_ok) return external;
  close_session(handle);
  delete handle;
  return throw_error(env, error.empty() ? "Cannot create a session: out of memory" : error);
}

/** Names and types of the inputs, or of the outputs. Null when it fails. */
napi_value describe(napi_env env, const Handle& handle, bool inputs) {
  const ort::Api& api = *handle.runtime->api;
  ort::Allocator* allocator = nullptr;
  size_t count = 0;
  std::string error = take_message(api, api.GetAllocatorWithDefaultOptions(&allocator));
  if (error.empty())
    error = take_message(api, inputs ? api.SessionGetInputCount(handle.session, &count)
                                     : api.SessionGetOutputCount(handle.session, &count));
  napi_value list;
  napi_create_array_with_length(env, count, &list);
  for (size_t i = 0; i < count && error.empty(); i++) {
    char* name = nullptr;
    ort::TypeInfo* type = nullptr;
    error = take_message(api, inputs ? api.SessionGetInputName(handle.session, i, allocator, &name)
                                     : api.SessionGetOutputName(handle.session, i, allocator, &name));
    if (!error.empty()) break;
    const std::string text = name;
    api.ReleaseStatus(api.AllocatorFree(allocator, name));
    error = take_message(api, inputs ? api.SessionGetInputTypeInfo(handle.session, i, &type)
                                     : api.SessionGetOutputTypeInfo(handle.session, i, &type));
    if (!error.empty()) break;
    napi_value described = describe_value(env, api, text, type);
    api.ReleaseTypeInfo(type);
    if (!described) return nullptr;
    napi_set_element(env, list, uint32_t(i), described);
  }
  return error.empty() ? list : throw_error(env, error);
}

/** describeSession(session): { inputs, outputs }. */
napi_value describe_session(napi_env env, napi_callback_info info) {
  const Handle* handle = handle_of(env, arguments(env, info, 1)[0]);
  if (!handle) return nullptr;
  napi_value inputs = describe(env, *handle, true);
  napi_value outputs = inputs ? describe(env, *handle, false) : nullptr;
  if (!outputs) return nullptr;
  napi_value result;
  napi_create_object(env, &result);
  set_named(env, result, "inputs", inputs);
  set_named(env, result, "outputs", outputs);
  return result;
}

/** Named tensors of a run; a null tensor is left for onnxruntime to make. */
struct Named {
  std::vector<std::string> names;
  std::vector<OwnedValue> values;
};

bool read_named(napi_env env, const ort::Api& api, napi_value list, bool may_be_null, Named* out) {
  std::vector<napi_value> entries;
  if (!get_elements(env, list, &entries)) return false;
  for (napi_value entry : entries) {
    std::vector<napi_value> pair;
    if (!get_elements(env, entry, &pair)) return false;
    if (pair.size() != 2) return throw_error(env, "Cannot read an argument: wanted [name, tensor]");
    out->names.emplace_back();
    out->values.emplace_back(api);
    if (!get_string(env, pair[0], &out->names.back())) return false;
    if (may_be_null && is_nullish(env, pair[1])) continue;
    if (!view_tensor(env, api, pair[1], &out->values.back())) return false;
  }
  return true;
}

std::vector<const char*> pointers(const std::vector<std::string>& names) {
  std::vector<const char*> result;
  for (const auto& name : names) result.push_back(name.c_str());
  return result;
}

/** runSession(session, inputs, outputs): the tensors of the outputs that were given as null, null for the others. */
napi_value run_session(napi_env env, napi_callback_info info) {
  const auto given = arguments(env, info, 3);
  const Handle* handle = handle_of(env, given[0]);
  if (!handle) return nullptr;
  const ort::Api& api = *handle->runtime->api;
  Named inputs, outputs;
  if (!read_named(env, api, given[1], false, &inputs) || !read_named(env, api, given[2], true, &outputs))
    return nullptr;
  std::vector<const ort::Value*> feeds;
  std::vector<ort::Value*> fetches;
  std::vector<bool> is_ours;
  for (const auto& value : inputs.values) feeds.push_back(value.get());
  for (const auto& value : outputs.values) {
    fetches.push_back(value.get());
    is_ours.push_back(value.get() == nullptr);
  }
  const auto input_names = pointers(inputs.names);
  const auto output_names = pointers(outputs.names);
  const std::string error =
      take_message(api, api.Run(handle->session, static_cast<const ort::RunOptions*>(nullptr), input_names.data(),
                                feeds.data(), feeds.size(), output_names.data(), fetches.size(), fetches.data()));
  napi_value results;
  napi_create_array_with_length(env, fetches.size(), &results);
  for (size_t i = 0; i < fetches.size(); i++) {
    if (!is_ours[i] || !fetches[i]) continue;
    OwnedValue fresh(api);
    *fresh.out() = fetches[i];
    if (!error.empty()) continue;
    napi_value tensor = give_tensor(env, api, std::move(fresh));
    if (tensor) napi_set_element(env, results, uint32_t(i), tensor);
  }
  return error.empty() ? results : throw_error(env, error);
}

napi_value release_session(napi_env env, napi_callback_info info) {
  Handle* handle = handle_of(env, arguments(env, info, 1)[0]);
  if (handle) close_session(handle);
  return nullptr;
}

/** runtimeVersion(path): version of the onnxruntime loaded from there. */
napi_value runtime_version(napi_env env, napi_callback_info info) {
  std::string path, error;
  if (!get_string(env, arguments(env, info, 1)[0], &path)) return nullptr;
  const Runtime* runtime = runtime_at(path, &error);
  return runtime ? make_string(env, runtime->version) : throw_error(env, error);
}

}  // namespace

napi_value register_sessions(napi_env env, napi_value exports) {
  export_function(env, exports, "createSession", create_session);
  export_function(env, exports, "describeSession", describe_session);
  export_function(env, exports, "runSession", run_session);
  export_function(env, exports, "releaseSession", release_session);
  export_function(env, exports, "runtimeVersion", runtime_version);
  return exports;
}
