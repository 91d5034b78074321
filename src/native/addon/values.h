// Small helpers over Node-API: arguments in, values and errors out. Every function leaves a pending JavaScript
// exception behind when it fails and says so by its result; callers then return at once.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace spexpand {

/** Throws an Error with this text; always null, so that callers can return it. */
napi_value throw_error(napi_env env, const std::string& message);

/** The first `count` arguments of a call; missing ones are undefined. */
std::vector<napi_value> arguments(napi_env env, napi_callback_info info, size_t count);

bool get_string(napi_env env, napi_value value, std::string* out);
bool get_number(napi_env env, napi_value value, double* out);
bool get_named(napi_env env, napi_value object, const char* name, napi_value* out);
bool get_named_number(napi_env env, napi_value object, const char* name, double* out);
bool get_named_string(napi_env env, napi_value object, const char* name, std::string* out);
/** The elements of an array. */
bool get_elements(napi_env env, napi_value array, std::vector<napi_value>* out);
bool is_nullish(napi_env env, napi_value value);

/** Where the bytes of a typed array or an ArrayBuffer lie. */
struct Bytes {
  void* data = nullptr;
  size_t size = 0;
};
bool get_bytes(napi_env env, napi_value value, Bytes* out);

napi_value make_string(napi_env env, const std::string& text);
napi_value make_number(napi_env env, double number);
bool set_named(napi_env env, napi_value object, const char* name, napi_value value);

/** Adds a function to `exports`. */
bool export_function(napi_env env, napi_value exports, const char* name, napi_callback function);

}  // namespace spexpand
