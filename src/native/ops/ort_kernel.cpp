#include "ops/ort_kernel.h"

#include <cstdio>

namespace spexpand {

bool took(const ort::Api& api, ort::Status* status, Error& error) {
  if (!status) return true;
  fail(error, "%s", api.GetErrorMessage(status));
  api.ReleaseStatus(status);
  return false;
}

bool readTensor(const ort::Api& api, const ort::Value* value, Tensor& tensor, Error& error) {
  void* data = nullptr;
  ort::TensorTypeAndShapeInfo* info = nullptr;
  if (!took(api, api.GetTensorMutableData(const_cast<ort::Value*>(value), &data), error)) return false;
  if (!took(api, api.GetTensorTypeAndShape(value, &info), error)) return false;
  tensor.data = data;
  bool isRead = took(api, api.GetDimensionsCount(info, &tensor.rank), error);
  if (isRead && tensor.rank > kMostDimensions)
    isRead = fail(error, "a tensor has %zu dimensions, expected at most %d", tensor.rank, kMostDimensions);
  isRead = isRead && took(api, api.GetDimensions(info, tensor.shape, tensor.rank), error);
  api.ReleaseTensorTypeAndShapeInfo(info);
  return isRead;
}

bool readInput(const ort::Api& api, const ort::KernelContext* context, size_t index, Tensor& tensor, Error& error) {
  const ort::Value* value = nullptr;
  if (!took(api, api.KernelContext_GetInput(context, index, &value), error)) return false;
  if (!value) return fail(error, "input %zu is missing", index);
  return readTensor(api, value, tensor, error);
}

bool readConstant(const ort::Api& api, const ort::KernelInfo* info, size_t index, bool& isConstant, Tensor& tensor,
                  Error& error) {
  int is = 0;
  const ort::Value* value = nullptr;
  if (!took(api, api.KernelInfoGetConstantInput_tensor(info, index, &is, &value), error)) return false;
  isConstant = is != 0 && value;
  return !isConstant || readTensor(api, value, tensor, error);
}

bool readInteger(const ort::Api& api, const ort::KernelInfo* info, const char* name, int64_t& value, Error& error) {
  Error cause;
  if (took(api, api.KernelInfoGetAttribute_int64(info, name, &value), cause)) return true;
  return fail(error, "attribute %s is missing or no integer", name);
}

bool makeOutput(const ort::Api& api, ort::KernelContext* context, const int64_t* shape, size_t rank, void*& data,
                Error& error) {
  ort::Value* value = nullptr;
  return took(api, api.KernelContext_GetOutput(context, size_t{0}, shape, rank, &value), error) &&
         took(api, api.GetTensorMutableData(value, &data), error);
}

Parallel PoolOf::parallel() {
  return {this, [](void* self, void (*body)(void*, size_t), size_t count, void* data) {
            const auto* pool = static_cast<const PoolOf*>(self);
            // 0 batches: onnxruntime deals the indices out one by one. Without a pool it calls them in place.
            ort::Status* status = pool->api.KernelContext_ParallelFor(pool->context, body, count, size_t{0}, data);
            if (!status) return;
            // It refuses only null arguments, before it calls anything.
            pool->api.ReleaseStatus(status);
            for (size_t i = 0; i < count; i++) body(data, i);
          }};
}

ort::Status* statusOf(const ort::Api& api, const char* action, const char* op, const Error& error) {
  char text[400];
  std::snprintf(text, sizeof text, "Cannot %s %s: %s", action, op, error.text);
  return api.CreateStatus(ort::kInvalidArgument, static_cast<const char*>(text));
}

}  // namespace spexpand
