// Times of products on a GPU, weights cold: launches of a captured graph go round copies of one stack that together are
// far larger than the second-level cache. A line per case: type x K N experts tokens µs GB/s of what has to be read.
// Arguments: none, the table; "tokens 8", one layer with so many; "one f16 8", a launch for a profiler.
#include <algorithm>
#include <vector>

#include "cuda/launch.h"
#include "memory.h"

namespace {

using namespace test;

constexpr size_t kColdBytes = 400 << 20;
constexpr int kReplays = 21;

struct Case {
  ValueType type;
  long experts, outputs, inputs, groupSize, tokens;
  bool isHalf;
};

size_t bytesOf(const Owned& owned) {
  return owned.mask.size + owned.values.size + owned.scales.size * 2 + owned.offsets.size * 8;
}

/** Median µs of one product. */
float timeOf(const std::vector<Stack>& stacks, cuda::Product product, bool isHalf) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t launches;
  cudaEvent_t begin, end;
  demand(cudaStreamCreate(&stream));
  demand(cudaEventCreate(&begin));
  demand(cudaEventCreate(&end));
  Error error;
  demand(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (const Stack& stack : stacks)
    if (!cuda::runProduct(stack, product, isHalf, stream, error)) std::printf("FAIL %s\n", error.text), std::exit(1);
  demand(cudaStreamEndCapture(stream, &graph));
  demand(cudaGraphInstantiate(&launches, graph, 0));
  std::vector<float> times;
  for (int i = 0; i < kReplays + 3; i++) {
    float ms = 0;
    demand(cudaEventRecord(begin, stream));
    demand(cudaGraphLaunch(launches, stream));
    demand(cudaEventRecord(end, stream));
    demand(cudaEventSynchronize(end));
    demand(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 3) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  demand(cudaGraphExecDestroy(launches));
  demand(cudaGraphDestroy(graph));
  demand(cudaStreamDestroy(stream));
  return times[times.size() / 2] * 1000 / static_cast<float>(stacks.size());
}

void time(const Case& of, const Owned& owned, const std::vector<Stack>& stacks) {
  Random random(3);
  const size_t size = of.isHalf ? 2 : 4;
  std::vector<uint8_t> x(static_cast<size_t>(of.tokens * of.inputs) * size);
  for (size_t i = 0; i < x.size() / size; i++) {
    const float value = random.number();
    const uint16_t half = floatToF16(value);
    std::memcpy(x.data() + i * size, of.isHalf ? static_cast<const void*>(&half) : &value, size);
  }
  std::vector<int64_t> expert;
  for (long t = 0; t < of.tokens; t++) expert.push_back(random.below(of.experts));
  const Exact<uint8_t> inputs(x), empty(std::vector<uint8_t>(static_cast<size_t>(of.tokens * of.outputs) * size));
  const Exact<int64_t> experts(expert);
  const OnDevice<uint8_t> input(inputs), output(empty);
  const OnDevice<int64_t> chosen(experts);
  cuda::Notice notice;
  Error error;
  if (!cuda::makeNotice(notice, error)) std::printf("FAIL %s\n", error.text), std::exit(1);
  const float us = timeOf(stacks, {of.tokens, input.data, chosen.data, output.data, notice.device}, of.isHalf);
  std::sort(expert.begin(), expert.end());
  const auto used = std::unique(expert.begin(), expert.end()) - expert.begin();
  const double read = static_cast<double>(bytesOf(owned)) * static_cast<double>(used) / static_cast<double>(of.experts);
  std::printf("%-5s %s %5ld %5ld %3ld %4ld  %8.2f us %7.0f GB/s\n", nameOf(of.type), of.isHalf ? "f16" : "f32",
              of.inputs, of.outputs, of.experts, of.tokens, static_cast<double>(us), read / us * 1e-3);
  std::fflush(stdout);
  cuda::freeNotice(notice);
}

void timeStacks(ValueType type, long experts, long outputs, long inputs, long groupSize,
                const std::vector<long>& tokens) {
  Random random(1);
  const Owned owned = makeStack({type, experts, outputs, inputs, 0.3, groupSize}, random);
  std::vector<std::unique_ptr<StackOnDevice>> copies;
  std::vector<Stack> stacks;
  const size_t count = std::min<size_t>(kColdBytes / bytesOf(owned) + 2, 200);
  for (size_t i = 0; i < count; i++) {
    copies.emplace_back(new StackOnDevice(owned));
    stacks.push_back(copies.back()->stack);
  }
  for (const long t : tokens)
    for (const bool isHalf : {true, false}) time({type, experts, outputs, inputs, groupSize, t, isHalf}, owned, stacks);
}

}  // namespace

/** One launch each, for a profiler: bench one f16 64. */
void launchOnce(ValueType type, long tokens) {
  Random random(1);
  const Owned owned = makeStack({type, 1, 11008, 4096, 0.3, 128}, random);
  const StackOnDevice there(owned);
  const size_t x = static_cast<size_t>(tokens * 4096) * 4, y = static_cast<size_t>(tokens * 11008) * 4;
  const Exact<uint8_t> inputs(std::vector<uint8_t>(x, 0x33)), empty(std::vector<uint8_t>(y, 0));
  const Exact<int64_t> experts(std::vector<int64_t>(static_cast<size_t>(tokens), 0));
  const OnDevice<uint8_t> input(inputs), output(empty);
  const OnDevice<int64_t> chosen(experts);
  cuda::Notice notice;
  Error error;
  if (!cuda::makeNotice(notice, error)) std::printf("FAIL %s\n", error.text), std::exit(1);
  for (const bool isHalf : {true, false})
    if (!cuda::runProduct(there.stack, {tokens, input.data, chosen.data, output.data, notice.device}, isHalf, nullptr,
                          error))
      std::printf("FAIL %s\n", error.text), std::exit(1);
  demand(cudaDeviceSynchronize());
  cuda::freeNotice(notice);
}

int main(int count, char** arguments) {
  if (count == 4) {
    const bool isInt8 = std::strcmp(arguments[2], "int8") == 0;
    launchOnce(isInt8 ? ValueType::int8 : ValueType::f16, std::atol(arguments[3]));
    return 0;
  }
  if (count == 3) {
    for (const ValueType type : {ValueType::f16, ValueType::int8, ValueType::int4})
      timeStacks(type, 1, 11008, 4096, type == ValueType::f16 ? 0 : 128, {std::atol(arguments[2])});
    return 0;
  }
  const bool isShort = count > 1;
  struct Layer {
    long outputs, inputs;
  };
  for (const Layer& layer : {Layer{1536, 576}, Layer{5632, 2048}, Layer{11008, 4096}}) {
    if (isShort && layer.inputs == 2048) continue;
    const std::vector<long> tokens = isShort ? std::vector<long>{1, 8, 512} : std::vector<long>{1, 4, 8, 64, 512};
    timeStacks(ValueType::f16, 1, layer.outputs, layer.inputs, 0, tokens);
    timeStacks(ValueType::int8, 1, layer.outputs, layer.inputs, 128, tokens);
    timeStacks(ValueType::int4, 1, layer.outputs, layer.inputs, 32, tokens);
    if (!isShort) timeStacks(ValueType::bf16, 1, layer.outputs, layer.inputs, 0, {1, 512});
  }
  timeStacks(ValueType::f16, 16, 1536, 576, 0, {1, 8, 64, 512});
  return 0;
}
