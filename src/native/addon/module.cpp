// The addon: sessions with our operators registered, the bandwidth of this machine's memory, matrix products.
#include <node_api.h>

napi_value register_sessions(napi_env env, napi_value exports);
napi_value register_bandwidth(napi_env env, napi_value exports);
napi_value register_gemm(napi_env env, napi_value exports);

// Node-API calls this once per thread (workers too): nothing here may be kept in statics but what the process shares.
NAPI_MODULE_INIT() {
  register_sessions(env, exports);
  register_bandwidth(env, exports);
  register_gemm(env, exports);
  return exports;
}
