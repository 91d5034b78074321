// compare ISA: every type, shape and regime of one instruction set against plain loops in double precision.
#include <algorithm>
#include <cstdio>
#include <thread>

#include "kernels/neuron_ffn.h"
#include "kernels/sparse_matmul.h"
#include "kernels/verify.h"
#include "driver.h"
#include "stacks.h"

namespace test {

namespace {

long cases = 0;
long failures = 0;

void serial(void*, void (*body)(void*, size_t), size_t count, void* data) {
  for (size_t i = count; i-- > 0;) body(data, i);
}

void threaded(void*, void (*body)(void*, size_t), size_t count, void* data) {
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 3; t++)
    threads.emplace_back([=] {
      for (size_t i = t; i < count; i += 3) body(data, i);
    });
  for (auto& thread : threads) thread.join();
}

struct Run {
  long tokens;
  bool isHalf;
  bool roundsInputs;
};

/** Inputs with one far outlier per token, as layers have them. */
std::vector<float> makeInputs(long tokens, long inputs, bool isHalf, Random& random) {
  std::vector<float> x(static_cast<size_t>(tokens * inputs));
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
    if (isHalf) std::memcpy(bytes.data() + i * 2, &half, 2);
    else std::memcpy(bytes.data() + i * 4, &x[i], 4);
  }
  return Exact<uint8_t>(bytes);
}

double readAs(const uint8_t* bytes, size_t at, bool isHalf) {
  uint16_t half;
  float value;
  if (isHalf) return std::memcpy(&half, bytes + at * 2, 2), f16ToFloat(half);
  return std::memcpy(&value, bytes + at * 4, 4), value;
}

/** Half a step of f16 at v, or of its smallest step. */
double halfStep(double v) { return std::max(std::fabs(v) * 0x1p-11, 0x1p-25); }

/**
 * What y may be off by: f32 sums of K products, what panels on tiles leave out of x, the rounding of an f16 output, and
 * with rounded inputs half a step of the largest input of the block (128 inputs at most, so the largest of the row
 * bounds it) for every weight.
 */
double allowed(const Isa& isa, const Owned& owned, const Run& run, const float* x, long row, double expected) {
  const long K = owned.stack.inputs;
  double products = 0;
  double weights = 0;
  double largest = 0;
  for (long k = 0; k < K; k++) {
    const double w = std::fabs(owned.weight[static_cast<size_t>(row * K + k)]);
    products += w * std::fabs(static_cast<double>(x[k]));
    weights += w;
    largest = std::max(largest, std::fabs(static_cast<double>(x[k])));
  }
  const double cut = std::strcmp(isa.name, "amx") == 0 ? 0x1p-17 : 0;
  return (2e-6 + cut) * products + (run.roundsInputs ? 1.01 * weights * largest / 254 : 0) +
         (run.isHalf ? 1.01 * halfStep(expected) : 0) + 1e-30;
}

void report(const char* what, const Form& form, const Run& run, long t, long n, double got, double wanted) {
  if (++failures > 20) return;
  std::printf("FAIL %s %s E %ld N %ld K %ld density %g group %ld T %ld half %d rounds %d: y[%ld, %ld] is %.9g, expected %.9g\n",
              what, nameOf(form.type), form.experts, form.outputs, form.inputs, form.density, form.groupSize, run.tokens,
              run.isHalf, run.roundsInputs, t, n, got, wanted);
}

void compareProduct(const Isa& isa, const Form& form, const Run& run, Random& random) {
  Owned owned = makeStack(form, random);
  Error error;
  if (!completeStack(owned.stack, owned.stored, error)) return std::printf("FAIL %s\n", error.text), void(failures++);
  for (long e = 0; e < form.experts; e++)
    if (!verifyExpert(isa, owned.stack, e, error)) return std::printf("FAIL %s\n", error.text), void(failures++);
  const std::vector<float> x = makeInputs(run.tokens, form.inputs, run.isHalf, random);
  const Exact<uint8_t> tensor = asTensor(x, run.isHalf);
  std::vector<int64_t> expert;
  // Uneven, as routers are: half of the tokens go to expert 0.
  for (long t = 0; t < run.tokens; t++) expert.push_back(random.below(2) ? 0 : random.below(form.experts));
  const Exact<int64_t> experts(expert);
  const size_t yBytes = static_cast<size_t>(run.tokens * form.outputs) * (run.isHalf ? 2 : 4);
  Exact<uint8_t> y(std::vector<uint8_t>(yBytes, 0xff));
  Exact<uint8_t> again(std::vector<uint8_t>(yBytes, 0xff));
  SparseMatMul product{&owned.stack, run.tokens, tensor.data, experts.data, y.data, run.isHalf, run.roundsInputs};
  bool isRun = sparseMatMul(isa, {nullptr, serial}, product, error);
  product.y = again.data;
  isRun = isRun && sparseMatMul(isa, {nullptr, threaded}, product, error);
  cases++;
  if (!isRun) return std::printf("FAIL %s\n", error.text), void(failures++);
  if (yBytes && std::memcmp(y.data, again.data, yBytes) != 0) report("threads change", form, run, 0, 0, 0, 0);
  for (long t = 0; t < run.tokens; t++)
    for (long n = 0; n < form.outputs; n++) {
      const long row = expert[static_cast<size_t>(t)] * form.outputs + n;
      const float* input = x.data() + t * form.inputs;
      double wanted = 0;
      for (long k = 0; k < form.inputs; k++)
        wanted += owned.weight[static_cast<size_t>(row * form.inputs + k)] * static_cast<double>(input[k]);
      const double got = readAs(y.data, static_cast<size_t>(t * form.outputs + n), run.isHalf);
      if (!(std::fabs(got - wanted) <= allowed(isa, owned, run, input, row, wanted))) report("y", form, run, t, n, got, wanted);
    }
}

/** Rounded inputs make every instruction set compute the same integers: only the f32 sums of blocks may differ. */
void compareToScalar(const Isa& isa, const Form& form, Random& random) {
  Owned owned = makeStack(form, random);
  const std::vector<float> x = makeInputs(3, form.inputs, false, random);
  const int64_t experts[3] = {0, form.experts - 1, 0};
  std::vector<float> y(static_cast<size_t>(3 * form.outputs));
  std::vector<float> twin(y.size());
  Error error;
  sparseMatMul(isa, {nullptr, serial}, {&owned.stack, 3, x.data(), experts, y.data(), false, true}, error);
  sparseMatMul(kScalar, {nullptr, serial}, {&owned.stack, 3, x.data(), experts, twin.data(), false, true}, error);
  cases++;
  for (size_t i = 0; i < y.size(); i++)
    if (!(std::fabs(y[i] - twin[i]) <= 2e-5 * (1 + std::fabs(twin[i]))))
      report("scalar twin", form, {3, false, true}, static_cast<long>(i) / form.outputs,
             static_cast<long>(i) % form.outputs, y[i], twin[i]);
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

void compareNeurons(const Isa& isa, DenseType type, long K, long N, long count, const Run& run, Random& random) {
  const long F = 40;
  std::vector<float> gate(static_cast<size_t>(F * K)), up(gate.size()), down(static_cast<size_t>(F * N));
  for (auto* matrix : {&gate, &up, &down})
    for (float& w : *matrix) w = random.number();
  const Exact<uint8_t> g = denseTensor(gate, type), u = denseTensor(up, type), d = denseTensor(down, type);
  const std::vector<float> x = makeInputs(run.tokens, K, run.isHalf, random);
  const Exact<uint8_t> tensor = asTensor(x, run.isHalf);
  std::vector<int64_t> index(static_cast<size_t>(F));
  for (long i = 0; i < F; i++) index[static_cast<size_t>(i)] = i;
  for (long i = 0; i < F; i++) std::swap(index[static_cast<size_t>(i)], index[static_cast<size_t>(random.below(F))]);
  index.resize(static_cast<size_t>(count));
  const Exact<int64_t> chosen(index);
  const size_t yBytes = static_cast<size_t>(run.tokens * N) * (run.isHalf ? 2 : 4);
  Exact<uint8_t> y(std::vector<uint8_t>(yBytes, 0xff)), again(std::vector<uint8_t>(yBytes, 0xff));
  NeuronFfn ffn{run.tokens, K, N, F, tensor.data, chosen.data, count, g.data, u.data, d.data, type, y.data, run.isHalf};
  Error error;
  bool isRun = checkNeurons(ffn.index, count, F, error) && neuronFfn(isa, {nullptr, serial}, ffn, error);
  ffn.y = again.data;
  isRun = isRun && neuronFfn(isa, {nullptr, threaded}, ffn, error);
  cases++;
  const Form form{ValueType::f16, 1, N, K, static_cast<double>(count) / F, 0};
  if (!isRun || (yBytes && std::memcmp(y.data, again.data, yBytes) != 0)) report("neurons", form, run, 0, 0, 0, 0);
  for (long t = 0; t < run.tokens; t++)
    for (long n = 0; n < N; n++) {
      double wanted = 0, size = 0;
      for (const int64_t j : index) {
        double a = 0, b = 0, sizeA = 0, sizeB = 0;
        for (long k = 0; k < K; k++) {
          const double input = x[static_cast<size_t>(t * K + k)];
          const double wa = gate[static_cast<size_t>(j * K + k)], wb = up[static_cast<size_t>(j * K + k)];
          a += wa * input, b += wb * input;
          sizeA += std::fabs(wa * input), sizeB += std::fabs(wb * input);
        }
        const double w = down[static_cast<size_t>(j * N + n)];
        wanted += a / (1 + std::exp(-a)) * b * w;
        size += (1 + sizeA) * (1 + sizeB) * std::fabs(w);
      }
      const double got = readAs(y.data, static_cast<size_t>(t * N + n), run.isHalf);
      if (!(std::fabs(got - wanted) <= 4e-6 * size + (run.isHalf ? 1.01 * halfStep(wanted) : 0)))
        report("neurons", form, run, t, n, got, wanted);
    }
}

struct Shape {
  long experts, outputs, inputs;
};
constexpr Shape kShapes[] = {{1, 1, 1},   {1, 5, 7},    {2, 3, 8},    {3, 17, 64}, {1, 33, 65},
                             {2, 16, 127}, {1, 18, 576}, {2, 35, 200}};
constexpr ValueType kTypes[] = {ValueType::f16, ValueType::bf16, ValueType::int8, ValueType::int4};

void compareShape(const Isa& isa, ValueType type, const Shape& shape, long groupSize, Random& random) {
  const bool isInteger = type == ValueType::int8 || type == ValueType::int4;
  for (const double density : {0.0, 0.3, 1.0}) {
    const Form form{type, shape.experts, shape.outputs, shape.inputs, density, groupSize};
    for (const long tokens : {0, 1, 3, 8, 11, 40}) {
      // Rows that are empty or full differ within a row only: a few tokens show it.
      if (density != 0.3 && tokens != 3) continue;
      for (const bool rounds : {false, true})
        if (isInteger || !rounds) compareProduct(isa, form, {tokens, tokens == 3 || tokens == 40, rounds}, random);
    }
    if (isInteger) compareToScalar(isa, form, random);
  }
}

}  // namespace

int compare(const Isa& isa) {
  Random random(1);
  for (const ValueType type : kTypes)
    for (const Shape& shape : kShapes)
      for (const long group : {0, 32, 64, 96, 128, 256})
        if (group == 0 || ((type == ValueType::int8 || type == ValueType::int4) && (group <= 64 || shape.inputs > 64)))
          compareShape(isa, type, shape, group, random);
  for (const DenseType type : {DenseType::f32, DenseType::f16, DenseType::bf16})
    for (const long K : {1, 7, 64, 130})
      for (const long count : {0, 1, 37})
        for (const long tokens : {0, 1, 5}) compareNeurons(isa, type, K, K + 3, count, {tokens, tokens == 5, false}, random);
  std::printf("%s: %ld cases, %ld failures\n", isa.name, cases, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace test
