// Reads memory as fast as it comes: the roof over every kernel that reads its weights once.
#include <chrono>
#include <memory>
#include <thread>

#include "values.h"

using namespace spexpand;

namespace {

constexpr size_t kLanes = 32;  // as many as fit in registers

/** Sums of 64-bit words in lanes that do not wait for each other; the compiler turns them into vectors. */
#if defined(__x86_64__) && defined(__gnu_linux__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
uint64_t read_words(const uint64_t* words, size_t count) {
  uint64_t sums[kLanes] = {};
  for (size_t i = 0; i + kLanes <= count; i += kLanes)
    for (size_t lane = 0; lane < kLanes; lane++) sums[lane] += words[i + lane];
  uint64_t sum = 0;
  for (uint64_t lane : sums) sum += lane;
  return sum;
}

template <typename Body>
double seconds(Body body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/** Runs body(thread) on `threads` threads, this one among them. */
template <typename Body>
void on_threads(size_t threads, Body body) {
  std::vector<std::thread> others;
  for (size_t t = 1; t < threads; t++) others.emplace_back([=] { body(t); });
  body(0);
  for (auto& thread : others) thread.join();
}

/** readBandwidth(bytes, threads, rounds): bytes per second of the best round; every thread reads its own part. */
napi_value read_bandwidth(napi_env env, napi_callback_info info) {
  const auto given = arguments(env, info, 3);
  double bytes = 0, threads = 0, rounds = 0;
  if (!get_number(env, given[0], &bytes) || !get_number(env, given[1], &threads) || !get_number(env, given[2], &rounds))
    return nullptr;
  const size_t parts = static_cast<size_t>(threads);
  const size_t words = parts > 0 ? static_cast<size_t>(bytes) / 8 / parts : 0;
  if (words < kLanes || !(rounds >= 1))
    return throw_error(env, "Cannot measure bandwidth: wanted at least 512 bytes a thread, 1 thread and 1 round");
  std::unique_ptr<uint64_t[]> memory(new (std::nothrow) uint64_t[words * parts]);
  if (!memory) return throw_error(env, "Cannot measure bandwidth: out of memory");
  uint64_t* data = memory.get();
  // Written first: untouched pages are all one page of zeros.
  on_threads(parts, [=](size_t t) {
    for (size_t i = t * words; i < (t + 1) * words; i++) data[i] = i;
  });
  std::vector<uint64_t> sums(parts);
  uint64_t* out = sums.data();
  double best = 0;
  for (int round = 0; round < rounds; round++) {
    const double time = seconds([=] {
      on_threads(parts, [=](size_t t) { out[t] = read_words(data + t * words, words); });
    });
    const double rate = static_cast<double>(words * parts * 8) / time;
    if (rate > best) best = rate;
  }
  volatile uint64_t used = sums[0];  // the sums are wanted, or the loop above is dead
  (void)used;
  return make_number(env, best);
}

}  // namespace

napi_value register_bandwidth(napi_env env, napi_value exports) {
  export_function(env, exports, "readBandwidth", read_bandwidth);
  return exports;
}
