#include "ops/neuron_op.h"

#include <cstring>

namespace spexpand {

namespace {

// Inputs, in order: x, idx, gate, up, down.
constexpr size_t kInputs = 5;

bool isMatrix(const Tensor& tensor, int64_t rows, int64_t columns) {
  return tensor.rank == 2 && tensor.shape[0] == rows && tensor.shape[1] == columns;
}

bool checkShapes(const Tensor* inputs, Error& error) {
  const Tensor& x = inputs[0];
  const Tensor& gate = inputs[2];
  const Tensor& up = inputs[3];
  const Tensor& down = inputs[4];
  if (inputs[1].rank != 1) return fail(error, "idx has %zu dimensions, expected 1", inputs[1].rank);
  if (gate.rank != 2 || x.rank == 0 || gate.shape[1] != x.shape[x.rank - 1])
    return fail(error, "gate has %zu dimensions and %lld elements, expected (neurons, inputs of x)", gate.rank,
                static_cast<long long>(gate.size()));
  if (!isMatrix(up, gate.shape[0], gate.shape[1]))
    return fail(error, "up has %zu dimensions and %lld elements, expected (%lld, %lld) as gate", up.rank,
                static_cast<long long>(up.size()), static_cast<long long>(gate.shape[0]),
                static_cast<long long>(gate.shape[1]));
  if (down.rank != 2 || down.shape[0] != gate.shape[0])
    return fail(error, "down has %zu dimensions and %lld elements, expected (%lld, outputs)", down.rank,
                static_cast<long long>(down.size()), static_cast<long long>(gate.shape[0]));
  return true;
}

}  // namespace

bool NeuronKernel::create(const ort::KernelInfo* info, Error& error) {
  isa_ = chooseIsa(error);
  if (!isa_) return false;
  char activation[16] = "";
  size_t size = sizeof activation;
  Error cause;
  const bool isRead = took(
      api_, api_.KernelInfoGetAttribute_string(info, "activation", static_cast<char*>(activation), &size), cause);
  return (isRead && std::strcmp(activation, "silu") == 0) || fail(error, "attribute activation is not \"silu\"");
}

bool NeuronKernel::compute(ort::KernelContext* context, Error& error) {
  Tensor inputs[kInputs];
  for (size_t i = 0; i < kInputs; i++)
    if (!readInput(api_, context, i, inputs[i], error)) return false;
  if (!checkShapes(inputs, error)) return false;
  const Tensor& x = inputs[0];
  NeuronFfn ffn = {};
  ffn.inputs = static_cast<long>(x.shape[x.rank - 1]);
  ffn.neurons = static_cast<long>(inputs[2].shape[0]);
  ffn.outputs = static_cast<long>(inputs[4].shape[1]);
  ffn.tokens = 1;
  int64_t shape[kMostDimensions];
  for (size_t i = 0; i + 1 < x.rank; i++) ffn.tokens *= static_cast<long>(shape[i] = x.shape[i]);
  shape[x.rank - 1] = ffn.outputs;
  ffn.index = static_cast<const int64_t*>(inputs[1].data);
  ffn.count = static_cast<long>(inputs[1].shape[0]);
  if (!checkNeurons(ffn.index, ffn.count, ffn.neurons, error)) return false;
  if (!makeOutput(api_, context, shape, x.rank, ffn.y, error)) return false;
  ffn.x = x.data;
  ffn.gate = inputs[2].data;
  ffn.up = inputs[3].data;
  ffn.down = inputs[4].data;
  ffn.type = variant_.weights;
  ffn.isHalf = variant_.isHalf;
  PoolOf pool{api_, context};
  return neuronFfn(*isa_, pool.parallel(), ffn, error);
}

}  // namespace spexpand
