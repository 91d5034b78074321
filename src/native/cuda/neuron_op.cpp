#include "cuda/neuron_op.h"

#include <cstring>

#include "ops/shapes.h"

namespace spexpand {
namespace cuda {

bool NeuronKernel::create(const ort::KernelInfo* info, Error& error) {
  char activation[16] = "";
  size_t size = sizeof activation;
  Error cause;
  const bool isRead = took(
      api_, api_.KernelInfoGetAttribute_string(info, "activation", static_cast<char*>(activation), &size), cause);
  if (!isRead || std::strcmp(activation, "silu") != 0) return fail(error, "attribute activation is not \"silu\"");
  return makeNotice(notice_, error);
}

bool NeuronKernel::compute(ort::KernelContext* context, Error& error) {
  Tensor inputs[kNeuronInputs];
  for (size_t i = 0; i < kNeuronInputs; i++)
    if (!readInput(api_, context, i, inputs[i], error)) return false;
  void* stream = nullptr;
  if (!checkNeuronShapes(inputs, error) || !streamOf(api_, context, stream, error)) return false;
  const Tensor& x = inputs[kX];
  Neurons ffn = {};
  ffn.inputs = static_cast<long>(x.shape[x.rank - 1]);
  ffn.neurons = static_cast<long>(inputs[kGate].shape[0]);
  ffn.outputs = static_cast<long>(inputs[kDown].shape[1]);
  ffn.tokens = 1;
  int64_t shape[kMostDimensions];
  for (size_t i = 0; i + 1 < x.rank; i++) ffn.tokens *= static_cast<long>(shape[i] = x.shape[i]);
  shape[x.rank - 1] = ffn.outputs;
  if (!readNotice(notice_, "idx", "distinct neurons", ffn.neurons - 1, error)) return false;
  if (!makeOutput(api_, context, shape, x.rank, ffn.y, error)) return false;
  ffn.x = x.data;
  ffn.index = static_cast<const int64_t*>(inputs[kIndex].data);
  ffn.count = static_cast<long>(inputs[kIndex].shape[0]);
  ffn.gate = inputs[kGate].data;
  ffn.up = inputs[kUp].data;
  ffn.down = inputs[kDown].data;
  ffn.notice = notice_.device;
  return runNeurons(ffn, variant_.weights, variant_.isHalf, stream, error);
}

}  // namespace cuda
}  // namespace spexpand
