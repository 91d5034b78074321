// Working memory of a thread: grows, never shrinks, freed with the thread. Not for files of one instruction set: they
// get their memory from the caller.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace spexpand {

/** At least `bytes`, at a multiple of 64. `slot` tells apart buffers in use at the same time. Null: out of memory. */
template <int slot>
void* threadScratch(size_t bytes) {
  struct Buffer {
    void* data = nullptr;
    size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = (bytes + 4095) / 4096 * 4096;
    buffer.data = std::aligned_alloc(4096, buffer.size);
    if (!buffer.data) buffer.size = 0;
  }
  return buffer.data;
}

}  // namespace spexpand
