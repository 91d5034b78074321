// The CUDA kernels, through the shim or on a GPU (device.sh), against the scalar CPU kernels: compare | refuse
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cuda/launch.h"
#include "kernels/verify.h"
#include "memory.h"
#include "stacks.h"

namespace {

using namespace test;

long cases = 0;
long failures = 0;

struct Run {
  long tokens;
  bool isHalf;
  bool hasStranger;  // one token of an expert that does not exist
};

std::vector<float> makeInputs(long count, bool isHalf, Random& random) {
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = random.below(50) ? random.number() : 20 * random.number();
  if (isHalf)
    for (float& v : x) v = f16ToFloat(floatToF16(v));
  return x;
}

/** As the bytes of a tensor of exactly that size. */
Exact<uint8_t> asTensor(const std::vector<float>& x, bool isHalf) {
  std::vector<uint8_t> bytes(x.size() * (isHalf ? 2 : 4));
  for (size_t i = 0; i < x.size(); i++) {
    const uint16_t half = floatToF16(x[i]);
    std::memcpy(bytes.data() + i * (isHalf ? 2 : 4), isHalf ? static_cast<const void*>(&half) : &x[i], isHalf ? 2 : 4);
  }
  return Exact<uint8_t>(bytes);
}

/** Not zeros: an output that is not written shows. */
Exact<uint8_t> emptyTensor(long count, bool isHalf) {
  return Exact<uint8_t>(std::vector<uint8_t>(static_cast<size_t>(count) * (isHalf ? 2 : 4), 0x11));
}

double readAs(const Exact<uint8_t>& tensor, size_t at, bool isHalf) {
  uint16_t half;
  float value;
  if (isHalf) return std::memcpy(&half, tensor.data + at * 2, 2), f16ToFloat(half);
  return std::memcpy(&value, tensor.data + at * 4, 4), value;
}

/** f32 sums in another order, and the rounding of an f16 output. */
bool isNear(double got, double wanted, double size, bool isHalf) {
  const double halfStep = isHalf ? 1.01 * std::max(std::fabs(wanted) * 0x1p-11, 0x1p-25) : 0;
  return std::fabs(got - wanted) <= 2e-6 * size + halfStep + 1e-30;
}

void report(const char* what, const Form& form, const Run& run, long t, long n, double got, double wanted) {
  if (++failures > 20) return;
  std::printf("FAIL %s %s E %ld N %ld K %ld density %g group %ld T %ld half %d: y[%ld, %ld] is %.9g, expected %.9g\n",
              what, nameOf(form.type), form.experts, form.outputs, form.inputs, form.density, form.groupSize,
              run.tokens, run.isHalf, t, n, got, wanted);
}

void failed(const Error& error) {
  failures++;
  std::printf("FAIL %s\n", error.text);
}

/** The text that is expected, or the case failed. */
void expectText(const char* what, bool isFine, const Error& error, const char* part) {
  cases++;
  if (!isFine && std::strstr(error.text, part)) return;
  failures++;
  std::printf("FAIL %s: \"%s\" does not say \"%s\"\n", what, error.text, part);
}

/** Row (e, n) of the weights, by the scalar CPU kernel. */
std::vector<float> decode(const Stack& stack, long row) {
  std::vector<float> weights(static_cast<size_t>(stack.inputs));
  kScalar.decodeRow(stack, row, weights.data(), stack.inputs, nullptr);
  return weights;
}

void checkOutputs(const Form& form, const Run& run, const Stack& stack, const std::vector<float>& x,
                  const std::vector<int64_t>& expert, const Exact<uint8_t>& y) {
  for (long row = 0; row < form.experts * form.outputs; row++) {
    const std::vector<float> weights = decode(stack, row);
    const long n = row % form.outputs;
    for (long t = 0; t < run.tokens; t++) {
      if (expert[static_cast<size_t>(t)] != row / form.outputs) continue;
      double wanted = 0, size = 0;
      for (long k = 0; k < form.inputs; k++) {
        const double term = static_cast<double>(weights[static_cast<size_t>(k)]) *
                            static_cast<double>(x[static_cast<size_t>(t * form.inputs + k)]);
        wanted += term, size += std::fabs(term);
      }
      const double got = readAs(y, static_cast<size_t>(t * form.outputs + n), run.isHalf);
      if (!isNear(got, wanted, size, run.isHalf)) report("y", form, run, t, n, got, wanted);
    }
  }
  for (long t = 0; t < run.tokens; t++) {
    const int64_t e = expert[static_cast<size_t>(t)];
    for (long n = 0; n < form.outputs && (e < 0 || e >= form.experts); n++) {
      const double got = readAs(y, static_cast<size_t>(t * form.outputs + n), run.isHalf);
      if (!std::isnan(got)) report("stranger", form, run, t, n, got, NAN);
    }
  }
}

void compareProduct(const Form& form, const Run& run, const cuda::Notice& notice, Random& random) {
  cases++;
  Owned owned = makeStack(form, random);
  Error error;
  const StackOnDevice there(owned);
  if (!cuda::verifyStack(there.stack, owned.stored, nullptr, error)) return failed(error);
  const std::vector<float> x = makeInputs(run.tokens * form.inputs, run.isHalf, random);
  const Exact<uint8_t> inputs = asTensor(x, run.isHalf);
  const OnDevice<uint8_t> tensor(inputs);
  std::vector<int64_t> expert;
  // Uneven, as routers are: half of the tokens go to expert 0.
  for (long t = 0; t < run.tokens; t++) expert.push_back(random.below(2) ? 0 : random.below(form.experts));
  if (run.hasStranger) expert[static_cast<size_t>(run.tokens / 2)] = random.below(2) ? form.experts : INT64_MIN;
  const Exact<int64_t> held(expert);
  const OnDevice<int64_t> experts(held);
  Exact<uint8_t> y = emptyTensor(run.tokens * form.outputs, run.isHalf);
  const OnDevice<uint8_t> output(y);
  const cuda::Product product{run.tokens, tensor.data, experts.data, output.data, notice.device};
  if (!cuda::runProduct(there.stack, product, run.isHalf, nullptr, error)) return failed(error);
  output.get(y);
  checkOutputs(form, run, owned.stack, x, expert, y);
  const bool isQuiet = cuda::readNotice(notice, "expert", "experts", form.experts - 1, error);
  if (run.hasStranger) expectText("stranger", isQuiet, error, "of an earlier run is");
  else if (!isQuiet) report("notice", form, run, 0, 0, 0, 0);
}

Exact<uint8_t> denseTensor(std::vector<float>& weights, DenseType type) {
  std::vector<uint8_t> bytes(weights.size() * (type == DenseType::f32 ? 4 : 2));
  for (size_t i = 0; i < weights.size(); i++) {
    const uint16_t half = type == DenseType::f16 ? floatToF16(weights[i]) : narrowBf16(weights[i]);
    if (type == DenseType::f32) std::memcpy(bytes.data() + i * 4, &weights[i], 4);
    else std::memcpy(bytes.data() + i * 2, &half, 2);
    if (type != DenseType::f32) weights[i] = type == DenseType::f16 ? f16ToFloat(half) : bf16ToFloat(half);
  }
  return Exact<uint8_t>(bytes);
}

/** `spoil`: 0 a right index, 1 one outside, 2 one twice. */
void compareNeurons(DenseType type, long K, long N, long count, const Run& run, int spoil, const cuda::Notice& notice,
                    Random& random) {
  cases++;
  const long F = 40;
  std::vector<float> gate(static_cast<size_t>(F * K)), up(gate.size()), down(static_cast<size_t>(F * N));
  for (auto* matrix : {&gate, &up, &down})
    for (float& w : *matrix) w = random.number();
  const Exact<uint8_t> weights[] = {denseTensor(gate, type), denseTensor(up, type), denseTensor(down, type)};
  const OnDevice<uint8_t> g(weights[0]), u(weights[1]), d(weights[2]);
  const std::vector<float> x = makeInputs(run.tokens * K, run.isHalf, random);
  const Exact<uint8_t> inputs = asTensor(x, run.isHalf);
  const OnDevice<uint8_t> tensor(inputs);
  std::vector<int64_t> index(static_cast<size_t>(F));
  for (long i = 0; i < F; i++) index[static_cast<size_t>(i)] = i;
  for (long i = 0; i < F; i++) std::swap(index[static_cast<size_t>(i)], index[static_cast<size_t>(random.below(F))]);
  index.resize(static_cast<size_t>(count));
  if (spoil == 1) index[3] = F;
  if (spoil == 2) index[3] = index[1];
  const Exact<int64_t> held(index);
  const OnDevice<int64_t> chosen(held);
  Exact<uint8_t> y = emptyTensor(run.tokens * N, run.isHalf);
  const OnDevice<uint8_t> output(y);
  const cuda::Neurons ffn{run.tokens, K, N, F, tensor.data, chosen.data, count, g.data, u.data, d.data,
                          output.data, notice.device, nullptr, nullptr};
  Error error;
  if (!cuda::runNeurons(ffn, type, run.isHalf, nullptr, error)) return failed(error);
  output.get(y);
  const bool isQuiet = cuda::readNotice(notice, "idx", "distinct neurons", F - 1, error);
  if (spoil) expectText("spoiled idx", isQuiet, error, "idx");
  else if (!isQuiet) report("notice", {}, run, 0, 0, 0, 0);
  const Form form{ValueType::f16, 1, N, K, static_cast<double>(count) / F, 0};
  for (long t = 0; t < run.tokens; t++) {
    std::vector<double> wanted(static_cast<size_t>(N)), size(wanted.size());
    for (const int64_t j : index) {
      if (spoil) continue;
      const float* input = x.data() + t * K;
      const float a = kScalar.dot(DenseType::f32, gate.data() + j * K, input, K);
      const float b = kScalar.dot(DenseType::f32, up.data() + j * K, input, K);
      double sizeA = 1, sizeB = 1;
      for (long k = 0; k < K; k++) {
        sizeA += std::fabs(static_cast<double>(gate[static_cast<size_t>(j * K + k)] * input[k]));
        sizeB += std::fabs(static_cast<double>(up[static_cast<size_t>(j * K + k)] * input[k]));
      }
      const double h = static_cast<double>(a) / (1 + std::exp(-static_cast<double>(a))) * static_cast<double>(b);
      for (long n = 0; n < N; n++) {
        const double w = static_cast<double>(down[static_cast<size_t>(j * N + n)]);
        wanted[static_cast<size_t>(n)] += h * w;
        size[static_cast<size_t>(n)] += 2 * sizeA * sizeB * std::fabs(w);
      }
    }
    for (long n = 0; n < N; n++) {
      const double got = readAs(y, static_cast<size_t>(t * N + n), run.isHalf);
      const double right = wanted[static_cast<size_t>(n)];
      const bool isRight = spoil ? std::isnan(got) : isNear(got, right, size[static_cast<size_t>(n)], run.isHalf);
      if (!isRight) report("neurons", form, run, t, n, got, right);
    }
  }
}

constexpr ValueType kTypes[] = {ValueType::f16, ValueType::bf16, ValueType::int8, ValueType::int4};
#ifdef __CUDACC__
constexpr bool kIsDevice = true;
#else
constexpr bool kIsDevice = false;
#endif

constexpr Form kForms[] = {{ValueType::f16, 1, 1, 1, 0.5, 0},    {ValueType::f16, 2, 5, 7, 0.3, 0},
                           {ValueType::f16, 3, 17, 64, 0.3, 0},  {ValueType::f16, 3, 35, 200, 0.3, 64},
                           {ValueType::f16, 2, 9, 127, 0.0, 0},  {ValueType::f16, 2, 9, 130, 1.0, 96},
                           {ValueType::f16, 2, 3, 2050, 0.9, 32},
                           {ValueType::f16, 2, 3, 2112, 0.3, 64}};
/** For the tiles: one expert and more, ragged ends, every way to scale. */
constexpr Form kTileForms[] = {{ValueType::f16, 1, 70, 64, 0.3, 32}, {ValueType::f16, 2, 35, 192, 0.5, 64},
                               {ValueType::f16, 1, 3, 320, 1.0, 96}, {ValueType::f16, 2, 33, 136, 0.3, 0},
                               {ValueType::f16, 1, 9, 65, 0.3, 32}};
/** As layers are; on a GPU only. */
constexpr Form kWideForms[] = {{ValueType::f16, 1, 301, 576, 0.3, 128},  {ValueType::f16, 16, 64, 1000, 0.3, 32},
                               {ValueType::f16, 1, 97, 4096, 0.3, 128},  {ValueType::f16, 16, 40, 11008, 0.3, 0},
                               {ValueType::f16, 2, 1536, 577, 0.5, 160}, {ValueType::f16, 1, 130, 2048, 1.0, 32}};

Form withType(Form form, ValueType type) {
  form.type = type;
  if (type == ValueType::f16 || type == ValueType::bf16) form.groupSize = 0;
  return form;
}

void compareProducts(ValueType type, bool isSmall, const cuda::Notice& notice, Random& random) {
  for (const Form& of : kForms) {
    const Form form = withType(of, type);
    for (const long tokens : {0, 1, 5, 8, 11}) {
      if (form.inputs > 1000 && tokens > 5 && isSmall) continue;  // fibers are slow
      compareProduct(form, {tokens, tokens == 5 || tokens == 11, false}, notice, random);
      if (tokens == 1) compareProduct(form, {tokens, true, false}, notice, random);
    }
    for (const long tokens : {1, 4, 20})
      if (form.outputs < 10) compareProduct(form, {tokens, tokens == 4, true}, notice, random);
  }
  for (const Form& of : kTileForms)
    for (const long tokens : {33, 150, 300})
      for (const bool isHalf : {false, true}) {
        if (tokens == 300 && (of.outputs != 3 || !isHalf) && isSmall) continue;
        compareProduct(withType(of, type), {tokens, isHalf, false}, notice, random);
      }
  if (isSmall) return;
  for (const Form& of : kWideForms)
    for (const long tokens : {1, 2, 7, 8, 9, 64, 512})
      for (const bool isHalf : {false, true})
        compareProduct(withType(of, type), {tokens, isHalf, tokens % 3 == 1}, notice, random);
}

/** isSmall: as much as the shim does, for compute-sanitizer. */
int compare(uint64_t seed, bool isSmall) {
  Random random(seed);
  cuda::Notice notice;
  Error error;
  if (!cuda::checkDevice(error) || !cuda::makeNotice(notice, error)) return std::printf("%s\n", error.text), 1;
  for (const ValueType type : kTypes) compareProducts(type, isSmall, notice, random);
  for (const DenseType type : {DenseType::f32, DenseType::f16, DenseType::bf16})
    for (const long K : {1, 33, 130})
      for (const long count : {0, 1, 37})
        for (const long tokens : {0, 1, 11})
          compareNeurons(type, K, K + 3, count, {tokens, tokens == 11, false}, 0, notice, random);
  for (const int spoil : {1, 2}) compareNeurons(DenseType::f16, 33, 40, 37, {3, false, false}, spoil, notice, random);
  cuda::freeNotice(notice);
#ifndef __CUDACC__
  if (shim::held != 0) failures++, std::printf("FAIL %ld allocations are not freed\n", shim::held);
#endif
  std::printf("%ld cases, %ld failures\n", cases, failures);
  return failures == 0 ? 0 : 1;
}

/** The CPU's checks of a whole stack. */
bool verifyOnCpu(Stack stack, long stored, Error& error) {
  if (!completeStack(stack, stored, error)) return false;
  for (long e = 0; e < stack.experts; e++)
    if (!verifyExpert(kScalar, stack, e, error)) return false;
  return true;
}

int64_t hostileNumber(Random& random, int64_t around) {
  constexpr int64_t kEdges[] = {-1, 0, INT64_MAX, INT64_MIN, int64_t{1} << 32, int64_t{1} << 62};
  return random.below(2) ? kEdges[random.below(6)] : around + random.below(7) - 3;
}

void spoil(Owned& owned, Random& random) {
  const auto below = [&](size_t size) { return static_cast<size_t>(random.below(static_cast<long>(size))); };
  switch (random.below(6)) {
    case 0: return void(owned.offsets.data[below(owned.offsets.size)] += random.below(5) - 2);
    case 1: {
      int64_t& offset = owned.offsets.data[below(owned.offsets.size)];
      return void(offset = hostileNumber(random, offset));
    }
    case 2: return void(owned.mask.data[below(owned.mask.size)] ^= static_cast<uint8_t>(1 << random.below(8)));
    case 3: return void(owned.values.data[below(owned.values.size)] |= 0xf0);
    case 4: {
      // As many bytes as the tensor says.
      std::vector<uint8_t> bytes(owned.values.data, owned.values.data + owned.values.size);
      const long each = owned.stack.type == ValueType::f16 || owned.stack.type == ValueType::bf16 ? 2 : 1;
      owned.stored += random.below(2) && owned.stored > 1 ? -1 - random.below(owned.stored - 1) : 1;
      bytes.resize(static_cast<size_t>(owned.stored * each));
      owned.values = Exact<uint8_t>(bytes);
      return void(owned.stack.values = owned.values.data);
    }
    default: {
      if (owned.scales.size) owned.scales.data[below(owned.scales.size)] = 0x7c00;
      else if (owned.values.size > 3) std::memset(owned.values.data + owned.values.size - 2, 0xff, 2);
    }
  }
}

/** Spoiled stacks: the device's checks refuse exactly those that the CPU's refuse, and read nothing outside. */
int refuse(int rounds) {
  Random random(7);
  long refused = 0;
  for (int round = 0; round < rounds; round++) {
    const ValueType type = kTypes[round % 4];
    const bool isInteger = type == ValueType::int8 || type == ValueType::int4;
    const long groupSize = isInteger && random.below(2) ? 32 : 0;
    const Form form{type, 1 + random.below(3), 1 + random.below(5), 1 + random.below(80), 0.4, groupSize};
    Owned owned = makeStack(form, random);
    if (round % 5) spoil(owned, random);
    Error onCpu;
    Error onDevice;
    const bool isFine = verifyOnCpu(owned.stack, owned.stored, onCpu);
    const bool isTaken = cuda::verifyStack(StackOnDevice(owned).stack, owned.stored, nullptr, onDevice);
    cases++;
    refused += !isTaken;
    if (isFine == isTaken && isTaken == (onDevice.text[0] == 0)) continue;
    if (++failures <= 20)
      std::printf("FAIL round %d %s: CPU \"%s\", device \"%s\"\n", round, nameOf(type), onCpu.text, onDevice.text);
  }
  std::printf("%ld cases, %ld refused, %ld failures\n", cases, refused, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  const char* command = count > 1 ? arguments[1] : "";
  const uint64_t number = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
  if (std::strcmp(command, "compare") == 0) return compare(number, !kIsDevice);
  if (std::strcmp(command, "small") == 0) return compare(number, true);
  if (std::strcmp(command, "refuse") == 0) return refuse(number ? static_cast<int>(number) : 1200);
  std::fprintf(stderr, "usage: compare [seed] | small [seed] | refuse [rounds]\n");
  return 2;
}
