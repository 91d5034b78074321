// Memory of one thread for packed operands: grows, never shrinks, freed with the thread.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace spexpand::gemm {

/** `slot` tells apart buffers that are in use at the same time. Contents are lost by the next call for the slot. */
template <int slot>
inline void* scratch(std::size_t bytes) {
  struct Buffer {
    void* data = nullptr;
    std::size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = (bytes + 4095) / 4096 * 4096;
    buffer.data = std::aligned_alloc(4096, buffer.size);
    if (!buffer.data) std::abort();
  }
  return buffer.data;
}

}  // namespace spexpand::gemm
