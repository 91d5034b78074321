// The onnxruntime that onnxruntime-node has already loaded into this process.
#pragma once

#include <string>

#include "../ort/api.h"

namespace spexpand {

/** onnxruntime of this process and its environment; lives as long as the process. */
struct Runtime {
  const ort::Api* api = nullptr;
  ort::Env* env = nullptr;
  std::string version;
};

/**
 * The library at `path`, which must be loaded: a second copy would not share threads and allocators with the first.
 * Null with *error set when it is not, or is too old.
 */
const Runtime* runtime_at(const std::string& path, std::string* error);

/** The message of a status, which is freed; empty for success. */
std::string take_message(const ort::Api& api, ort::Status* status);

}  // namespace spexpand
