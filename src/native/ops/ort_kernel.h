// What every kernel of ours needs from onnxruntime: inputs with shapes, the output, the thread pool, errors as Status.
#pragma once

#include "kernels/parallel.h"
#include "kernels/stack.h"
#include "ort/api.h"

namespace spexpand {

constexpr int kMostDimensions = 8;

/** A tensor as the kernels see it. Of more than kMostDimensions only the rank is kept. */
struct Tensor {
  const void* data = nullptr;
  size_t rank = 0;
  int64_t shape[kMostDimensions] = {};

  int64_t size() const {
    int64_t product = 1;
    for (size_t i = 0; i < rank && i < kMostDimensions; i++) product *= shape[i];
    return product;
  }
};

/** Frees the status and copies its message. */
bool took(const ort::Api& api, ort::Status* status, Error& error);

/** Data and shape of a value. */
bool readTensor(const ort::Api& api, const ort::Value* value, Tensor& tensor, Error& error);

/** Input `index` of a running kernel. */
bool readInput(const ort::Api& api, const ort::KernelContext* context, size_t index, Tensor& tensor, Error& error);

/** Whether input `index` is a constant of the model; then its data and shape hold as long as the kernel. */
bool readConstant(const ort::Api& api, const ort::KernelInfo* info, size_t index, bool& isConstant, Tensor& tensor,
                  Error& error);

bool readInteger(const ort::Api& api, const ort::KernelInfo* info, const char* name, int64_t& value, Error& error);

/** Output 0, allocated. */
bool makeOutput(const ort::Api& api, ort::KernelContext* context, const int64_t* shape, size_t rank, void*& data,
                Error& error);

/** The thread pool of the session. */
struct PoolOf {
  const ort::Api& api;
  const ort::KernelContext* context;
  Parallel parallel();
};

/** "Cannot run SparseExpertMatMul: " and the message, as a Status. */
ort::Status* statusOf(const ort::Api& api, const char* action, const char* op, const Error& error);

}  // namespace spexpand
