// Memory of the device, malloc'ed to the byte: compute-sanitizer sees every byte read beyond. With the shim it is the
// host's.
#pragma once

#include <cstdio>
#include <cstdlib>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "shim.h"
#endif
#include "stacks.h"

namespace test {

#ifdef __CUDACC__

inline void demand(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::printf("FAIL CUDA says \"%s\"\n", cudaGetErrorString(status));
  std::exit(1);
}

/** A copy; get() copies back, when all kernels are done. */
template <typename T>
struct OnDevice {
  T* data = nullptr;
  explicit OnDevice(const Exact<T>& from) : bytes_(from.size * sizeof(T)) {
    if (!bytes_) return;
    demand(cudaMalloc(reinterpret_cast<void**>(&data), bytes_));
    demand(cudaMemcpy(data, from.data, bytes_, cudaMemcpyHostToDevice));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data); }
  void get(Exact<T>& to) const {
    demand(cudaDeviceSynchronize());
    if (bytes_) demand(cudaMemcpy(to.data, data, bytes_, cudaMemcpyDeviceToHost));
  }

 private:
  size_t bytes_;
};

#else

template <typename T>
struct OnDevice {
  T* data;
  explicit OnDevice(const Exact<T>& from) : data(from.data) {}
  void get(Exact<T>&) const {}
};

#endif

/** The tensors of a stack. */
struct StackOnDevice {
  OnDevice<uint8_t> mask, values;
  OnDevice<uint16_t> scales;
  OnDevice<int64_t> offsets;
  Stack stack;
  explicit StackOnDevice(const Owned& owned)
      : mask(owned.mask), values(owned.values), scales(owned.scales), offsets(owned.offsets), stack(owned.stack) {
    stack.mask = mask.data;
    stack.values = values.data;
    stack.scales = scales.data;
    stack.rowOffsets = offsets.data;
  }
};

}  // namespace test
