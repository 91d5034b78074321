// Products for JavaScript: gemm(), gram(), siluMultiply() and gemmIsa(). Typed arrays are read and written where they lie.
#include "gemm/gemm.h"
#include "gemm/silu.h"

#include <node_api.h>

namespace {

struct Floats {
  float* data = nullptr;
  size_t length = 0;
};

bool toLong(napi_env env, napi_value value, long* out) {
  int64_t number;
  if (napi_get_value_int64(env, value, &number) != napi_ok) return false;
  *out = static_cast<long>(number);
  return true;
}

bool toFloats(napi_env env, napi_value value, Floats* out) {
  bool isTypedArray = false;
  napi_typedarray_type type;
  if (napi_is_typedarray(env, value, &isTypedArray) != napi_ok || !isTypedArray) return false;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, nullptr, nullptr) != napi_ok) return false;
  out->data = static_cast<float*>(data);
  return type == napi_float32_array;
}

napi_value fail(napi_env env, const char* message) {
  napi_throw_range_error(env, nullptr, message);
  return nullptr;
}

/** gemm(m, n, k, A, B, C, transA, transB, alpha, beta, fast): C = alpha · op(A) op(B) + beta · C. */
napi_value gemm(napi_env env, napi_callback_info info) {
  size_t count = 11;
  napi_value args[11];
  long m, n, k;
  Floats A, B, C;
  bool transA, transB, fast;
  double alpha, beta;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok || count != 11 ||
      !toLong(env, args[0], &m) || !toLong(env, args[1], &n) || !toLong(env, args[2], &k) ||
      !toFloats(env, args[3], &A) || !toFloats(env, args[4], &B) || !toFloats(env, args[5], &C) ||
      napi_get_value_bool(env, args[6], &transA) != napi_ok || napi_get_value_bool(env, args[7], &transB) != napi_ok ||
      napi_get_value_double(env, args[8], &alpha) != napi_ok || napi_get_value_double(env, args[9], &beta) != napi_ok || napi_get_value_bool(env, args[10], &fast) != napi_ok)
    return fail(env, "gemm(m, n, k, A, B, C, transA, transB, alpha, beta, fast): wrong arguments");
  if (m < 0 || n < 0 || k < 0 || A.length != static_cast<size_t>(m * k) || B.length != static_cast<size_t>(k * n) ||
      C.length != static_cast<size_t>(m * n))
    return fail(env, "gemm: operands do not have the lengths m·k, k·n and m·n");
  spexpand_sgemm(transA, transB, m, n, k, static_cast<float>(alpha), A.data, transA ? m : k, B.data, transB ? k : n,
                 static_cast<float>(beta), C.data, n, fast);
  return nullptr;
}

/** gram(rows, n, X, S, parts): the lower triangle of S (n, n) += Xᵀ X, of 1 to 3 bf16 parts of every number. */
napi_value gram(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value args[5];
  long rows, n, parts;
  Floats X, S;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok || count != 5 ||
      !toLong(env, args[0], &rows) || !toLong(env, args[1], &n) || !toFloats(env, args[2], &X) ||
      !toFloats(env, args[3], &S) || !toLong(env, args[4], &parts))
    return fail(env, "gram(rows, n, X, S, parts): wrong arguments");
  if (parts < 1 || parts > 3) return fail(env, "gram: parts is not 1, 2 or 3");
  if (rows < 0 || n < 0 || X.length != static_cast<size_t>(rows * n) || S.length != static_cast<size_t>(n * n))
    return fail(env, "gram: operands do not have the lengths rows·n and n·n");
  spexpand_gram(rows, n, X.data, n, S.data, static_cast<int>(parts));
  return nullptr;
}

/** siluMultiply(gate, up): gate = silu(gate) · up, element by element. */
napi_value siluMultiply(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value args[2];
  Floats gate, up;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok || count != 2 ||
      !toFloats(env, args[0], &gate) || !toFloats(env, args[1], &up) || gate.length != up.length)
    return fail(env, "siluMultiply(gate, up): wrong arguments");
  spexpand_silu_multiply(static_cast<long>(gate.length), gate.data, up.data);
  return nullptr;
}

napi_value gemmIsa(napi_env env, napi_callback_info) {
  napi_value name;
  if (napi_create_string_utf8(env, spexpand_gemm_isa(), NAPI_AUTO_LENGTH, &name) != napi_ok) return nullptr;
  return name;
}

}  // namespace

napi_value register_gemm(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"gemm", nullptr, gemm, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"gram", nullptr, gram, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"siluMultiply", nullptr, siluMultiply, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"gemmIsa", nullptr, gemmIsa, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  if (napi_define_properties(env, exports, 4, functions) != napi_ok) return nullptr;
  return exports;
}
