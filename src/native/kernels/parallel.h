// The one door to threads: whoever calls the kernels brings a parallel loop (onnxruntime's thread pool, a test's own).
#pragma once

#include <cstddef>

namespace spexpand {

struct Parallel {
  void* context;
  /** Calls body(data, i) for every i in [0, count), in any order, on any threads, and returns when all are done. */
  void (*run)(void* context, void (*body)(void* data, size_t index), size_t count, void* data);
};

template <typename Body>
void parallelFor(const Parallel& parallel, size_t count, const Body& body) {
  if (count == 0) return;
  if (count == 1) return body(size_t{0});
  parallel.run(
      parallel.context, [](void* data, size_t index) { (*static_cast<const Body*>(data))(index); }, count,
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace spexpand
