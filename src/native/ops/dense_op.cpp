#include "ops/dense_op.h"

#include <algorithm>
#include <cstdlib>

#include "gemm/gemm.h"
#include "gemm/widen.h"

namespace spexpand {

namespace {

/** Columns of y of one task: their weights as f32 stay in the L2 cache, and whole blocks of tiles. */
constexpr long kWidenedBytes = 1 << 20;
constexpr long kColumnStep = 32;
constexpr long kLeastColumns = 128;

struct Product {
  DenseType type;
  const float* x;
  const void* W;
  float* y;
  long m, n, k;
  bool isFast;

  /** y[:, first … first + count) */
  bool columns(long first, long count) const {
    const float* weights = static_cast<const float*>(W) + first * k;
    float* widened = nullptr;
    if (type != DenseType::f32) {
      widened = static_cast<float*>(std::malloc(static_cast<size_t>(count * k) * sizeof(float)));
      if (!widened) return false;
      const uint16_t* stored = static_cast<const uint16_t*>(W) + first * k;
      type == DenseType::bf16 ? gemm::widenBf16(stored, count * k, widened) : gemm::widenF16(stored, count * k, widened);
      weights = widened;
    }
    spexpand_sgemm(false, true, m, count, k, 1, x, k, weights, k, 0, y + first, n, isFast);
    std::free(widened);
    return true;
  }
};

}  // namespace

bool DenseKernel::create(const ort::KernelInfo* info, Error& error) {
  int64_t fast = 0;
  if (!readInteger(api_, info, "fast", fast, error)) return false;
  isFast_ = fast != 0;
  return true;
}

bool DenseKernel::compute(ort::KernelContext* context, Error& error) {
  Tensor x, W;
  if (!readInput(api_, context, 0, x, error) || !readInput(api_, context, 1, W, error)) return false;
  if (x.rank < 1 || x.rank > kMostDimensions || W.rank != 2 || W.shape[1] != x.shape[x.rank - 1])
    return fail(error, "W has %zu dimensions and %lld elements, expected (outputs, inputs of x)", W.rank,
                static_cast<long long>(W.size()));
  Product product = {variant_.weights, static_cast<const float*>(x.data), W.data, nullptr, 1, 0, 0, isFast_};
  product.n = static_cast<long>(W.shape[0]);
  product.k = static_cast<long>(W.shape[1]);
  int64_t shape[kMostDimensions];
  for (size_t i = 0; i + 1 < x.rank; i++) product.m *= static_cast<long>(shape[i] = x.shape[i]);
  shape[x.rank - 1] = product.n;
  void* y = nullptr;
  if (!makeOutput(api_, context, shape, x.rank, y, error)) return false;
  product.y = static_cast<float*>(y);
  if (product.m == 0 || product.n == 0) return true;
  const long fitting = kWidenedBytes / 4 / std::max(product.k, 1L) / kColumnStep * kColumnStep;
  const long width = std::max(fitting, kLeastColumns);
  const long count = (product.n + width - 1) / width;
  bool* isDone = static_cast<bool*>(std::calloc(count, 1));
  if (!isDone) return fail(error, "out of memory");
  PoolOf pool{api_, context};
  parallelFor(pool.parallel(), static_cast<size_t>(count), [&](size_t i) {
    const long first = static_cast<long>(i) * width;
    isDone[i] = product.columns(first, std::min(width, product.n - first));
  });
  const bool areDone = std::all_of(isDone, isDone + count, [](bool done) { return done; });
  std::free(isDone);
  return areDone || fail(error, "out of memory");
}

}  // namespace spexpand
