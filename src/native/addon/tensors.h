// Tensors between JavaScript ({ type, dims, data }) and onnxruntime, without copies.
#pragma once

#include "runtime.h"
#include "values.h"

namespace spexpand {

/** An OrtValue that is freed with this. */
class OwnedValue {
 public:
  explicit OwnedValue(const ort::Api& api) : api_(&api) {}
  OwnedValue(OwnedValue&& other) noexcept : api_(other.api_), value_(other.release()) {}
  OwnedValue(const OwnedValue&) = delete;
  ~OwnedValue() { if (value_) api_->ReleaseValue(value_); }
  ort::Value* get() const { return value_; }
  ort::Value** out() { return &value_; }
  ort::Value* release() {
    ort::Value* value = value_;
    value_ = nullptr;
    return value;
  }

 private:
  const ort::Api* api_;
  ort::Value* value_ = nullptr;
};

/** A view of the tensor's own bytes; they must outlive the value. */
bool view_tensor(napi_env env, const ort::Api& api, napi_value tensor, OwnedValue* out);

/** { type, dims, data: ArrayBuffer } over the value's memory, which the ArrayBuffer then owns. Null when it fails. */
napi_value give_tensor(napi_env env, const ort::Api& api, OwnedValue value);

/** { name, type, dims } of an input or output. Null when it fails. */
napi_value describe_value(napi_env env, const ort::Api& api, const std::string& name, ort::TypeInfo* info);

}  // namespace spexpand
