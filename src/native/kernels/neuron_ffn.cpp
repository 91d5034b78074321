#include "kernels/neuron_ffn.h"

#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "kernels/scratch.h"

namespace spexpand {

namespace {

// Neurons, and outputs, per call of a loop body.
constexpr long kNeuronsPerTask = 32;
constexpr long kOutputsPerTask = 128;
// Neurons ahead whose rows are fetched: selected rows lie anywhere, which the processor's own prefetcher cannot guess.
constexpr long kRowsAhead = 2;
constexpr long kPiecesAhead = 12;

const void* at(const NeuronFfn& ffn, const void* weights, long element) {
  return static_cast<const char*>(weights) + element * (ffn.type == DenseType::f32 ? 4 : 2);
}

void fetch(const void* weights, long bytes) {
  const char* begin = static_cast<const char*>(weights);
  for (long i = 0; i < bytes; i += 64) __builtin_prefetch(begin + i, 0, 2);
}

float silu(float v) { return v / (1 + std::exp(-v)); }

/** h (tokens, count) of the neurons [from, to) of the index. */
void intermediates(const Isa& isa, const NeuronFfn& ffn, const float* x, float* h, long from, long to) {
  const long rowBytes = ffn.inputs * (ffn.type == DenseType::f32 ? 4 : 2);
  for (long i = from; i < to; i++) {
    if (i + kRowsAhead < ffn.count) {
      const long next = ffn.index[i + kRowsAhead] * ffn.inputs;
      fetch(at(ffn, ffn.gate, next), rowBytes);
      fetch(at(ffn, ffn.up, next), rowBytes);
    }
    const void* gate = at(ffn, ffn.gate, ffn.index[i] * ffn.inputs);
    const void* up = at(ffn, ffn.up, ffn.index[i] * ffn.inputs);
    for (long t = 0; t < ffn.tokens; t++) {
      const float* input = x + t * ffn.inputs;
      const float g = isa.dot(ffn.type, gate, input, ffn.inputs);
      h[t * ffn.count + i] = silu(g) * isa.dot(ffn.type, up, input, ffn.inputs);
    }
  }
}

/** Outputs [from, to) of all tokens: neurons in the order of the index, whatever the threads. */
void outputs(const Isa& isa, const NeuronFfn& ffn, const float* h, float* y, long from, long to) {
  for (long t = 0; t < ffn.tokens; t++)
    std::memset(y + t * ffn.outputs + from, 0, static_cast<size_t>(to - from) * 4);
  const long pieceBytes = (to - from) * (ffn.type == DenseType::f32 ? 4 : 2);
  for (long i = 0; i < ffn.count; i++) {
    if (i + kPiecesAhead < ffn.count)
      fetch(at(ffn, ffn.down, ffn.index[i + kPiecesAhead] * ffn.outputs + from), pieceBytes);
    const void* down = at(ffn, ffn.down, ffn.index[i] * ffn.outputs + from);
    for (long t = 0; t < ffn.tokens; t++)
      isa.axpy(ffn.type, h[t * ffn.count + i], down, y + t * ffn.outputs + from, to - from);
  }
}

long tasksFor(long count, long each) { return (count + each - 1) / each; }

long least(long a, long b) { return a < b ? a : b; }

}  // namespace

bool checkNeurons(const int64_t* index, long count, long neurons, Error& error) {
  auto* seen = static_cast<uint8_t*>(threadScratch<0>(static_cast<size_t>(neurons) + 1));
  if (!seen) return fail(error, "Out of memory for %ld neurons", neurons);
  std::memset(seen, 0, static_cast<size_t>(neurons));
  for (long i = 0; i < count; i++) {
    if (index[i] < 0 || index[i] >= neurons)
      return fail(error, "idx %ld is %lld, expected 0 to %ld", i, static_cast<long long>(index[i]), neurons - 1);
    if (seen[index[i]]++) return fail(error, "idx %ld is %lld again, expected distinct neurons", i,
                                      static_cast<long long>(index[i]));
  }
  return true;
}

bool neuronFfn(const Isa& isa, const Parallel& parallel, const NeuronFfn& ffn, Error& error) {
  if (ffn.tokens == 0) return true;
  const long xCount = ffn.tokens * ffn.inputs;
  const long yCount = ffn.tokens * ffn.outputs;
  auto* x = static_cast<float*>(threadScratch<1>(static_cast<size_t>(xCount + 1) * 4));
  auto* h = static_cast<float*>(threadScratch<2>(static_cast<size_t>(ffn.tokens * ffn.count + 1) * 4));
  auto* y = static_cast<float*>(ffn.isHalf ? threadScratch<3>(static_cast<size_t>(yCount + 1) * 4) : ffn.y);
  if (!x || !h || (!y && yCount > 0)) return fail(error, "Out of memory for %ld tokens", ffn.tokens);
  if (ffn.isHalf)
    for (long i = 0; i < xCount; i++) x[i] = f16ToFloat(static_cast<const uint16_t*>(ffn.x)[i]);
  else
    std::memcpy(x, ffn.x, static_cast<size_t>(xCount) * 4);

  parallelFor(parallel, static_cast<size_t>(tasksFor(ffn.count, kNeuronsPerTask)), [&](size_t task) {
    const long from = static_cast<long>(task) * kNeuronsPerTask;
    intermediates(isa, ffn, x, h, from, least(from + kNeuronsPerTask, ffn.count));
  });
  parallelFor(parallel, static_cast<size_t>(tasksFor(ffn.outputs, kOutputsPerTask)), [&](size_t task) {
    const long from = static_cast<long>(task) * kOutputsPerTask;
    outputs(isa, ffn, h, y, from, least(from + kOutputsPerTask, ffn.outputs));
  });
  if (ffn.isHalf)
    for (long i = 0; i < yCount; i++) static_cast<uint16_t*>(ffn.y)[i] = floatToF16(y[i]);
  return true;
}

}  // namespace spexpand
