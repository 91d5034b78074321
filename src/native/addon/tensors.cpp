#include "tensors.h"

#include <cstring>

namespace spexpand {
namespace {

/** Bytes of an element, 0 for types without a typed array. */
size_t element_size(int type) {
  switch (type) {
    case ort::kUint8: case ort::kInt8: case ort::kBool: return 1;
    case ort::kUint16: case ort::kInt16: case ort::kFloat16: return 2;
    case ort::kFloat: case ort::kInt32: case ort::kUint32: return 4;
    case ort::kInt64: case ort::kUint64: case ort::kDouble: return 8;
    default: return 0;
  }
}

/** The owner of an ArrayBuffer over onnxruntime's memory. */
struct Owner {
  const ort::Api* api;
  ort::Value* value;
};

void free_owner(napi_env, void*, void* hint) {
  auto* owner = static_cast<Owner*>(hint);
  owner->api->ReleaseValue(owner->value);
  delete owner;
}

bool check(napi_env env, const ort::Api& api, ort::Status* status) {
  const std::string message = take_message(api, status);
  if (!message.empty()) throw_error(env, message);
  return message.empty();
}

napi_value dims_array(napi_env env, const std::vector<int64_t>& dims, const std::vector<const char*>& symbols) {
  napi_value array;
  napi_create_array_with_length(env, dims.size(), &array);
  for (size_t i = 0; i < dims.size(); i++) {
    const bool is_symbol = dims[i] < 0;
    napi_value dim = is_symbol ? make_string(env, symbols[i] ? symbols[i] : "") : make_number(env, double(dims[i]));
    napi_set_element(env, array, uint32_t(i), dim);
  }
  return array;
}

/** Type, dims and symbols of a tensor. */
struct Shape {
  ort::ElementType type = ort::kUndefined;
  std::vector<int64_t> dims;
  std::vector<const char*> symbols;
};

bool read_shape(napi_env env, const ort::Api& api, const ort::TensorTypeAndShapeInfo* info, Shape* out) {
  size_t rank = 0;
  if (!check(env, api, api.GetTensorElementType(info, &out->type))) return false;
  if (!check(env, api, api.GetDimensionsCount(info, &rank))) return false;
  out->dims.resize(rank);
  out->symbols.resize(rank);
  return check(env, api, api.GetDimensions(info, out->dims.data(), rank)) &&
         check(env, api, api.GetSymbolicDimensions(info, out->symbols.data(), rank));
}

napi_value make_described(napi_env env, int type, const Shape& shape) {
  napi_value object;
  napi_create_object(env, &object);
  set_named(env, object, "type", make_number(env, type));
  set_named(env, object, "dims", dims_array(env, shape.dims, shape.symbols));
  return object;
}

}  // namespace

bool view_tensor(napi_env env, const ort::Api& api, napi_value tensor, OwnedValue* out) {
  napi_value dims_value, data_value;
  double type = 0;
  std::vector<napi_value> elements;
  Bytes bytes;
  if (!get_named_number(env, tensor, "type", &type) || !get_named(env, tensor, "dims", &dims_value) ||
      !get_named(env, tensor, "data", &data_value) || !get_elements(env, dims_value, &elements) ||
      !get_bytes(env, data_value, &bytes))
    return false;
  std::vector<int64_t> dims(elements.size());
  for (size_t i = 0; i < elements.size(); i++) {
    double dim = 0;
    if (!get_number(env, elements[i], &dim)) return false;
    if (!(dim >= 0 && dim <= 9007199254740991.0)) {
      throw_error(env, "Cannot read a tensor: a dimension is negative or no whole number");
      return false;
    }
    dims[i] = int64_t(dim);
  }
  static char nothing[8];  // an empty array has no address, onnxruntime wants one
  void* data = bytes.size == 0 ? nothing : bytes.data;
  ort::MemoryInfo* memory = nullptr;
  if (!check(env, api, api.CreateCpuMemoryInfo(ort::kDeviceAllocator, ort::kMemDefault, &memory))) return false;
  ort::Status* status = api.CreateTensorWithDataAsOrtValue(memory, data, bytes.size, dims.data(), dims.size(),
                                                           static_cast<ort::ElementType>(int(type)), out->out());
  api.ReleaseMemoryInfo(memory);
  return check(env, api, status);
}

napi_value give_tensor(napi_env env, const ort::Api& api, OwnedValue value) {
  ort::TensorTypeAndShapeInfo* info = nullptr;
  if (!check(env, api, api.GetTensorTypeAndShape(value.get(), &info))) return nullptr;
  Shape shape;
  size_t count = 0;
  const bool is_read =
      read_shape(env, api, info, &shape) && check(env, api, api.GetTensorShapeElementCount(info, &count));
  api.ReleaseTensorTypeAndShapeInfo(info);
  if (!is_read) return nullptr;
  const size_t size = element_size(shape.type);
  if (size == 0) return throw_error(env, "Cannot read an output: its element type has no typed array");
  void* data = nullptr;
  if (!check(env, api, api.GetTensorMutableData(value.get(), &data))) return nullptr;
  napi_value buffer = nullptr;
  const size_t bytes = count * size;
  if (bytes == 0) {
    if (napi_create_arraybuffer(env, 0, nullptr, &buffer) != napi_ok) return throw_error(env, "Out of memory");
  } else {
    auto* owner = new Owner{&api, value.get()};
    const napi_status status = napi_create_external_arraybuffer(env, data, bytes, free_owner, owner, &buffer);
    if (status == napi_ok) {
      value.release();
    } else {
      // A host that forbids memory outside its heap (Electron): the one case with a copy.
      delete owner;
      void* copy = nullptr;
      if (napi_create_arraybuffer(env, bytes, &copy, &buffer) != napi_ok) return throw_error(env, "Out of memory");
      std::memcpy(copy, data, bytes);
    }
  }
  napi_value tensor = make_described(env, shape.type, shape);
  set_named(env, tensor, "data", buffer);
  return tensor;
}

napi_value describe_value(napi_env env, const ort::Api& api, const std::string& name, ort::TypeInfo* info) {
  ort::OnnxType kind = ort::kUnknown;
  const ort::TensorTypeAndShapeInfo* tensor = nullptr;
  Shape shape;
  if (!check(env, api, api.GetOnnxTypeFromTypeInfo(info, &kind))) return nullptr;
  if (kind == ort::kTensor) {
    if (!check(env, api, api.CastTypeInfoToTensorInfo(info, &tensor))) return nullptr;
    if (!read_shape(env, api, tensor, &shape)) return nullptr;
  }
  napi_value described = make_described(env, kind == ort::kTensor ? int(shape.type) : 0, shape);
  set_named(env, described, "name", make_string(env, name));
  return described;
}

}  // namespace spexpand
