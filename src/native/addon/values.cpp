#include "values.h"

namespace spexpand {

napi_value throw_error(napi_env env, const std::string& message) {
  bool is_pending = false;
  napi_is_exception_pending(env, &is_pending);
  if (!is_pending) napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

std::vector<napi_value> arguments(napi_env env, napi_callback_info info, size_t count) {
  std::vector<napi_value> values(count);
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, values.data(), nullptr, nullptr) != napi_ok) values.clear();
  return values;
}

static bool fail(napi_env env, const char* message) {
  throw_error(env, message);
  return false;
}

bool get_string(napi_env env, napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok)
    return fail(env, "Cannot read an argument: wanted a string");
  out->resize(length + 1);  // Node-API writes the closing zero too
  napi_get_value_string_utf8(env, value, &(*out)[0], length + 1, &length);
  out->resize(length);
  return true;
}

bool get_number(napi_env env, napi_value value, double* out) {
  if (napi_get_value_double(env, value, out) == napi_ok) return true;
  return fail(env, "Cannot read an argument: wanted a number");
}

bool get_named(napi_env env, napi_value object, const char* name, napi_value* out) {
  if (napi_get_named_property(env, object, name, out) == napi_ok) return true;
  return fail(env, "Cannot read an argument: wanted an object");
}

bool get_named_number(napi_env env, napi_value object, const char* name, double* out) {
  napi_value value;
  return get_named(env, object, name, &value) && get_number(env, value, out);
}

bool get_named_string(napi_env env, napi_value object, const char* name, std::string* out) {
  napi_value value;
  return get_named(env, object, name, &value) && get_string(env, value, out);
}

bool get_elements(napi_env env, napi_value array, std::vector<napi_value>* out) {
  uint32_t length = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok)
    return fail(env, "Cannot read an argument: wanted an array");
  out->resize(length);
  for (uint32_t i = 0; i < length; i++)
    if (napi_get_element(env, array, i, &(*out)[i]) != napi_ok) return fail(env, "Cannot read an array element");
  return true;
}

bool is_nullish(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_null || type == napi_undefined;
}

bool get_bytes(napi_env env, napi_value value, Bytes* out) {
  bool is_array = false;
  napi_is_typedarray(env, value, &is_array);
  if (!is_array) {
    if (napi_get_arraybuffer_info(env, value, &out->data, &out->size) == napi_ok) return true;
    return fail(env, "Cannot read a tensor: wanted a typed array or an ArrayBuffer as its data");
  }
  napi_typedarray_type type;
  size_t elements = 0;
  // The length is counted in elements of a type that later Nodes add to: byteLength needs no table of sizes.
  double bytes = 0;
  if (napi_get_typedarray_info(env, value, &type, &elements, &out->data, nullptr, nullptr) != napi_ok)
    return fail(env, "Cannot read a tensor: its typed array is of an unknown kind");
  if (!get_named_number(env, value, "byteLength", &bytes)) return false;
  out->size = static_cast<size_t>(bytes);
  return true;
}

napi_value make_string(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.c_str(), text.size(), &value);
  return value;
}

napi_value make_number(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}

bool set_named(napi_env env, napi_value object, const char* name, napi_value value) {
  return napi_set_named_property(env, object, name, value) == napi_ok;
}

bool export_function(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value) == napi_ok &&
         set_named(env, exports, name, value);
}

}  // namespace spexpand
