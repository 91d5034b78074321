// Which kernel with which grid. Compiled by nvcc, or with the shim of the tests by any C++ compiler.
// Working memory is allocated and freed in stream order: no run waits, and runs on other streams do not share it.
#include "cuda/launch.h"

#include "cuda/neurons.h"
#include "cuda/rows.h"
#include "cuda/tiles.h"
#include "cuda/verify.h"

namespace spexpand {
namespace cuda {

namespace {

#ifdef __CUDACC__
template <typename Kernel, typename... Arguments>
void start(Kernel kernel, dim3 grid, int threads, size_t shared, cudaStream_t stream, Arguments... arguments) {
  // More than every kernel may have has to be asked for; if it is refused, the launch fails.
  if (shared > 48 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  kernel<<<grid, threads, shared, stream>>>(arguments...);
}

/** Blocks of this kernel need much shared memory each: the first-level cache can be small. */
template <typename Kernel>
void preferShared(Kernel kernel) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
}
#else
using shim::start;
template <typename Kernel>
void preferShared(Kernel) {}
#endif

bool went(cudaError_t status, const char* what, Error& error) {
  return status == cudaSuccess || fail(error, "%s: CUDA says \"%s\"", what, cudaGetErrorString(status));
}

/** A launch that could not be made; what kernels do wrong later is the stream's to tell. */
bool started(Error& error) { return went(cudaGetLastError(), "a kernel could not be launched", error); }

dim3 gridOf(long x, long y) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

long parts(long count, long each) { return (count + each - 1) / each; }

/** Device memory for this run; freed in stream order. */
class Workspace {
 public:
  Workspace(size_t bytes, cudaStream_t stream, Error& error) : stream_(stream) {
    if (!went(cudaMallocAsync(&data_, bytes, stream), "no working memory", error)) data_ = nullptr;
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    if (data_) cudaFreeAsync(data_, stream_);
  }
  explicit operator bool() const { return data_; }
  void* data() const { return data_; }
  bool fill(int byte, size_t bytes, Error& error) const {
    return went(cudaMemsetAsync(data_, byte, bytes, stream_), "no working memory", error);
  }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
};

template <ValueType kType, bool kHalf, int kTokens, bool kWide>
bool runRows(const Stack& stack, const Product& product, cudaStream_t stream, Error& error) {
  const auto kernel = sparseRows<kType, kHalf, kTokens, kWide>;
  const dim3 grid = gridOf(parts(stack.outputs, kRowWarps * kWarpRows), product.tokens);
  preferShared(kernel);
  start(kernel, grid, kRowWarps * kWarp, 0, stream, stack, product);
  return started(error);
}

template <ValueType kType, bool kHalf, int kTokens, bool kWide>
bool runTiles(const Stack& stack, const Product& product, cudaStream_t stream, Error& error) {
  const auto kernel = sparseTiles<kType, kHalf, kTokens, kWide>;
  const long most = mostTiles(product.tokens, stack.experts, kTokens);
  const auto ints = static_cast<size_t>(stack.experts + product.tokens + 3 * most + 1);
  const Workspace memory(ints * sizeof(int), stream, error);
  if (!memory) return false;
  auto* begin = static_cast<int*>(memory.data());
  int* order = begin + stack.experts;
  int* expert = order + product.tokens;
  const Tiles tiles{stack.experts, kTokens, begin, order, expert, expert + most, expert + 2 * most, expert + 3 * most};
  start(groupTokens<kHalf>, gridOf(1, 1), kGroupThreads, 0, stream, product, tiles, stack.outputs);
  const dim3 grid = gridOf(most, parts(stack.outputs, Shape<kTokens>::kRows));
  preferShared(kernel);
  start(kernel, grid, kTileThreads, sizeof(TileMemory<kType, kHalf, kTokens>), stream, stack, product, tiles);
  return started(error);
}

/** Layers of models are: whole words of the mask in twos, and memory of onnxruntime. Others take slower kernels. */
bool isWide(const Stack& stack, const Product& product) {
  const auto places = reinterpret_cast<uintptr_t>(stack.mask) | reinterpret_cast<uintptr_t>(stack.values) |
                      reinterpret_cast<uintptr_t>(product.x);
  return stack.inputs % kStage == 0 && places % 16 == 0;
}

/** The number of tokens of an expert is known on the device only: an even share is taken for it. */
template <ValueType kType, bool kHalf>
bool runTyped(const Stack& stack, const Product& product, cudaStream_t stream, Error& error) {
  constexpr int kFew = kMostRowTokens;
  const bool wide = isWide(stack, product);
  const long share = product.tokens / stack.experts;
  if (product.tokens == 1)
    return wide ? runRows<kType, kHalf, 1, true>(stack, product, stream, error)
                : runRows<kType, kHalf, 1, false>(stack, product, stream, error);
  if (product.tokens <= kFew && stack.experts > 1)
    return wide ? runRows<kType, kHalf, kFew, true>(stack, product, stream, error)
                : runRows<kType, kHalf, kFew, false>(stack, product, stream, error);
  if (!wide) return runTiles<kType, kHalf, 32, false>(stack, product, stream, error);
  if (share <= 32) return runTiles<kType, kHalf, 32, true>(stack, product, stream, error);
  if (share <= 96) return runTiles<kType, kHalf, 64, true>(stack, product, stream, error);
  return runTiles<kType, kHalf, 128, true>(stack, product, stream, error);
}

template <bool kHalf>
bool runHalf(const Stack& stack, const Product& product, cudaStream_t stream, Error& error) {
  switch (stack.type) {
    case ValueType::f16: return runTyped<ValueType::f16, kHalf>(stack, product, stream, error);
    case ValueType::bf16: return runTyped<ValueType::bf16, kHalf>(stack, product, stream, error);
    case ValueType::int8: return runTyped<ValueType::int8, kHalf>(stack, product, stream, error);
    case ValueType::int4: return runTyped<ValueType::int4, kHalf>(stack, product, stream, error);
  }
  return false;
}

template <DenseType kType, bool kHalf>
void startNeurons(const Neurons& ffn, cudaStream_t stream) {
  constexpr int kThreads = kNeuronWarps * kWarp;
  const long chunks = parts(ffn.tokens, kNeuronTokens);
  if (ffn.count > 0) {
    start(checkNeurons, gridOf(parts(ffn.count, kThreads), 1), kThreads, 0, stream, ffn);
    start(neuronHidden<kType, kHalf>, gridOf(parts(ffn.count, kNeuronWarps), chunks), kThreads, 0, stream, ffn);
  }
  start(neuronOutputs<kType, kHalf>, gridOf(parts(ffn.outputs, kWarp), chunks), kThreads, 0, stream, ffn);
}

template <bool kHalf>
void startNeuronsHalf(const Neurons& ffn, DenseType type, cudaStream_t stream) {
  switch (type) {
    case DenseType::f32: return startNeurons<DenseType::f32, kHalf>(ffn, stream);
    case DenseType::f16: return startNeurons<DenseType::f16, kHalf>(ffn, stream);
    case DenseType::bf16: return startNeurons<DenseType::bf16, kHalf>(ffn, stream);
  }
}

const char* messageOf(Flaw flaw) {
  switch (flaw) {
    case kOffsets: return "row_offsets are not ascending from 0 to the end of values";
    case kPadding: return "mask has bits set behind the last input, expected 0";
    case kCount: return "mask does not keep as many weights as row_offsets say";
    case kEnd: return "values does not end where mask and row_offsets say";
    case kTail: return "values has a weight behind the last one of mask and row_offsets, expected 0";
    case kFirst: return "values does not begin with a 0";
    case kValue: return "values hold an infinity or a NaN, expected finite numbers";
    default: return "scales hold an infinity or a NaN, expected finite numbers";
  }
}

}  // namespace

bool checkDevice(Error& error) {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  return (status == cudaSuccess && devices > 0) ||
         fail(error, "%s, expected a GPU and a driver for CUDA %d.%d or newer",
              status == cudaSuccess ? "no device" : cudaGetErrorString(status), CUDART_VERSION / 1000,
              CUDART_VERSION % 1000 / 10);
}

bool makeNotice(Notice& notice, Error& error) {
  void* host = nullptr;
  void* device = nullptr;
  constexpr const char* kWhat = "no host memory that the device can write";
  if (!went(cudaHostAlloc(&host, sizeof *notice.host, cudaHostAllocMapped | cudaHostAllocPortable), kWhat, error))
    return false;
  notice.host = static_cast<unsigned long long*>(host);
  *notice.host = 0;
  if (!went(cudaHostGetDevicePointer(&device, host, 0), kWhat, error)) return false;
  notice.device = static_cast<unsigned long long*>(device);
  return true;
}

void freeNotice(Notice& notice) {
  if (notice.host) cudaFreeHost(notice.host);
  notice = {};
}

bool readNotice(const Notice& notice, const char* name, const char* wanted, long most, Error& error) {
  auto* word = static_cast<volatile unsigned long long*>(notice.host);
  const unsigned long long told = *word;
  if (told == 0) return true;
  *word = 0;
  const auto index = static_cast<int32_t>(told >> 32);
  return fail(error, "%s %llu of an earlier run is %d, expected %s 0 to %ld: its outputs were NaN", name,
              (told & 0xffffffffu) - 1, index, wanted, most);
}

bool verifyStack(const Stack& stack, long stored, void* on, Error& error) {
  auto* stream = static_cast<cudaStream_t>(on);
  const Workspace memory(sizeof(Flaw), stream, error);
  if (!memory || !memory.fill(0xff, sizeof(Flaw), error)) return false;
  const long rows = stack.experts * stack.outputs;
  start(verifyRows, gridOf(parts(rows, kVerifyWarps), 1), kVerifyWarps * kWarp, 0, stream, stack, stored,
        static_cast<Flaw*>(memory.data()));
  Flaw first = kNoFlaw;
  if (!started(error) ||
      !went(cudaMemcpyAsync(&first, memory.data(), sizeof first, cudaMemcpyDeviceToHost, stream), "no result", error) ||
      !went(cudaStreamSynchronize(stream), "the check of the weights ended badly", error))
    return false;
  if (first == kNoFlaw) return true;
  const auto row = static_cast<long>(first / 8);
  return fail(error, "expert %ld row %ld: %s", row / stack.outputs, row % stack.outputs, messageOf(first % 8));
}

bool runProduct(const Stack& stack, const Product& product, bool isHalf, void* on, Error& error) {
  auto* stream = static_cast<cudaStream_t>(on);
  if (product.tokens == 0) return true;
  if (product.tokens > INT32_MAX) return fail(error, "%ld tokens, expected at most %d", product.tokens, INT32_MAX);
  return isHalf ? runHalf<true>(stack, product, stream, error) : runHalf<false>(stack, product, stream, error);
}

bool runNeurons(Neurons ffn, DenseType type, bool isHalf, void* on, Error& error) {
  auto* stream = static_cast<cudaStream_t>(on);
  if (ffn.tokens == 0 || ffn.outputs == 0) return true;
  const Workspace memory(static_cast<size_t>(ffn.neurons + 1 + ffn.tokens * ffn.count) * sizeof(float), stream, error);
  if (!memory || !memory.fill(0, static_cast<size_t>(ffn.neurons + 1) * sizeof(unsigned), error)) return false;
  ffn.seen = static_cast<unsigned*>(memory.data());
  ffn.h = static_cast<float*>(memory.data()) + ffn.neurons + 1;
  if (isHalf) startNeuronsHalf<true>(ffn, type, stream);
  else startNeuronsHalf<false>(ffn, type, stream);
  return started(error);
}

}  // namespace cuda
}  // namespace spexpand
