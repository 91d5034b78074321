// The CUDA operators as onnxruntime calls them. Without arguments: those compiled with the shim.
// With the path of libspexpand_ops_cuda: registers it, and prints its message.
#include <dlfcn.h>

#include <cmath>
#include <cstdio>

#include "kernels/isa.h"
#include "onnxruntime.h"
#include "shim.h"
#include "stacks.h"

extern "C" ort::Status* RegisterCustomOps(ort::SessionOptions*, const ort::ApiBase*);

namespace {

using namespace test;

long cases = 0;
long failures = 0;

void expect(bool isRight, const char* what, const std::string& got = "") {
  cases++;
  if (isRight) return;
  failures++;
  std::printf("FAIL %s: got \"%s\"\n", what, got.c_str());
}

/** `part` empty: no error. */
void expectMessage(const std::string& got, const char* part, const char* what) {
  expect(*part ? got.find(part) != std::string::npos : got.empty(), what, got);
}

struct Layer {
  Owned owned;
  std::vector<float> x;
  std::vector<int64_t> expert;
  std::vector<float> y;
  FakeNode node;
};

constexpr long kTokens = 3;

ort::ElementType elementOf(ValueType type) {
  switch (type) {
    case ValueType::f16: return ort::kFloat16;
    case ValueType::bf16: return ort::kBfloat16;
    case ValueType::int8: return ort::kInt8;
    case ValueType::int4: return ort::kUint8;
  }
  return ort::kUndefined;
}

/** In place: the node points into it. */
void makeLayer(Layer& layer, ValueType type, bool isConstant) {
  Random random(5);
  const bool isInteger = type == ValueType::int8 || type == ValueType::int4;
  layer.owned = makeStack({type, 2, 6, 70, 0.4, isInteger ? 32 : 0}, random);
  const Stack& stack = layer.owned.stack;
  for (long i = 0; i < kTokens * stack.inputs; i++) layer.x.push_back(random.number());
  layer.expert = {1, 0, 1};
  layer.y.assign(static_cast<size_t>(kTokens * stack.outputs), 0);
  const int64_t E = stack.experts, N = stack.outputs;
  layer.node.inputs = {{ort::kFloat, {1, kTokens, stack.inputs}, layer.x.data(), false},
                       {ort::kInt64, {1, kTokens}, layer.expert.data(), false},
                       {ort::kUint8, {E, N, stack.maskBytes}, layer.owned.mask.data, isConstant},
                       {elementOf(type), {layer.owned.stored}, layer.owned.values.data, isConstant},
                       {ort::kFloat16, {E, N, stack.groups}, layer.owned.scales.data, isConstant},
                       {ort::kInt64, {E, N}, layer.owned.offsets.data, isConstant}};
  if (!isInteger) layer.node.inputs.erase(layer.node.inputs.begin() + 4);
  layer.node.integers = {{"bits", type == ValueType::int4 ? 4 : 8}, {"group_size", 32}, {"accuracy_level", 4}};
}

const char* nameOf(const Layer& layer) {
  return layer.node.inputs.size() == 6 ? "SparseExpertMatMulInteger" : "SparseExpertMatMul";
}

bool isProduct(const Layer& layer) {
  const Stack& stack = layer.owned.stack;
  for (long t = 0; t < kTokens; t++)
    for (long n = 0; n < stack.outputs; n++) {
      const long row = layer.expert[static_cast<size_t>(t)] * stack.outputs + n;
      double wanted = 0;
      for (long k = 0; k < stack.inputs; k++)
        wanted += layer.owned.weight[static_cast<size_t>(row * stack.inputs + k)] *
                  static_cast<double>(layer.x[static_cast<size_t>(t * stack.inputs + k)]);
      const double got = static_cast<double>(layer.y[static_cast<size_t>(t * stack.outputs + n)]);
      if (!(std::fabs(got - wanted) <= 1e-4)) return false;
    }
  return true;
}

void testTypes() {
  for (const ValueType type : {ValueType::f16, ValueType::bf16, ValueType::int8, ValueType::int4})
    for (const bool isConstant : {false, true}) {
      Layer layer;
      makeLayer(layer, type, isConstant);
      Kernel kernel(nameOf(layer), layer.node);
      expectMessage(kernel.run(layer.node, layer.y.data()), "", "a product");
      expect(isProduct(layer), test::nameOf(type));
      expect(layer.node.output.shape == std::vector<int64_t>{1, kTokens, layer.owned.stack.outputs}, "shape of y");
    }
}

/** An expert that does not exist: NaN for its token, told in the next run, gone after it. */
void testStranger() {
  Layer layer;
  makeLayer(layer, ValueType::int8, true);
  Kernel kernel(nameOf(layer), layer.node);
  layer.expert[1] = 7;
  expectMessage(kernel.run(layer.node, layer.y.data()), "", "a run with a stranger");
  expect(std::isnan(layer.y[6]) && std::isnan(layer.y[11]) && !std::isnan(layer.y[5]), "NaN for the token only");
  layer.expert[1] = 0;
  const char* told = "Cannot run SparseExpertMatMulInteger: expert 1 of an earlier run is 7, expected experts 0 to 1";
  expectMessage(kernel.run(layer.node, layer.y.data()), told, "the next run");
  expectMessage(kernel.run(layer.node, layer.y.data()), "", "the run after it");
  expect(isProduct(layer), "the run after it");
}

/** Data of inputs that are no constants are looked at in every run. */
void testContent() {
  for (const bool isConstant : {false, true}) {
    Layer layer;
    makeLayer(layer, ValueType::f16, isConstant);
    Kernel kernel(nameOf(layer), layer.node);
    layer.owned.offsets.data[4] += 1;
    const char* refusal = "Cannot run SparseExpertMatMul: expert 0 row 3: mask does not keep as many weights";
    expectMessage(kernel.run(layer.node, layer.y.data()), refusal, "a wrong offset");
    expectMessage(kernel.run(layer.node, layer.y.data()), refusal, "a wrong offset again");
    layer.owned.offsets.data[4] -= 1;
    expectMessage(kernel.run(layer.node, layer.y.data()), "", "the right offset");
    if (isConstant) continue;
    layer.owned.mask.data[layer.owned.stack.maskBytes - 1] |= 0x80;
    expectMessage(kernel.run(layer.node, layer.y.data()), "bits set behind the last input", "padding");
  }
}

void testShapes() {
  const auto refused = [](ValueType type, const char* part, auto change) {
    Layer layer;
    makeLayer(layer, type, true);
    change(layer.node);
    Kernel kernel(nameOf(layer), layer.node);
    expectMessage(kernel.run(layer.node, layer.y.data()), part, part);
  };
  const auto shapeOf = [](size_t input, std::vector<int64_t> shape) {
    return [=](FakeNode& node) { node.inputs[input].shape = shape; };
  };
  refused(ValueType::f16, "expected the shape of x without its last", shapeOf(1, {kTokens}));
  refused(ValueType::f16, "mask has 9 bytes per row, expected 10", shapeOf(0, {1, kTokens, 73}));
  refused(ValueType::f16, "mask has 2 dimensions, expected 3", shapeOf(2, {12, 9}));
  refused(ValueType::f16, "expected a list that begins with 0", shapeOf(3, {}));
  refused(ValueType::f16, "row_offsets has 12 elements in 1 dimensions, expected (2, 6)", shapeOf(4, {12}));
  refused(ValueType::int4, "expected (2, 6, 3)", shapeOf(4, {2, 6, 1}));
  const auto set = [](const char* name, int64_t value) { return [=](FakeNode& node) { node.integers[name] = value; }; };
  refused(ValueType::int4, "Cannot load SparseExpertMatMulInteger: attribute bits is 8, uint8", set("bits", 8));
  refused(ValueType::int8, "attribute group_size is 48", set("group_size", 48));
  refused(ValueType::int8, "attribute accuracy_level is 2", set("accuracy_level", 2));
  refused(ValueType::int8, "attribute bits is missing", [](FakeNode& node) { node.integers.erase("bits"); });
}

void testNeurons() {
  std::vector<float> x = {1, -2}, gate = {1, 0, 0, 1, 2, 1}, up = {1, 1, 2, 0, 0, 3}, down = {1, 2, 3}, y = {0};
  std::vector<int64_t> index = {2, 0};
  FakeNode node;
  node.inputs = {{ort::kFloat, {1, 2}, x.data(), false}, {ort::kInt64, {2}, index.data(), false},
                 {ort::kFloat, {3, 2}, gate.data(), true}, {ort::kFloat, {3, 2}, up.data(), true},
                 {ort::kFloat, {3, 1}, down.data(), true}};
  node.strings["activation"] = "silu";
  Kernel kernel("NeuronSubsetFFN", node);
  expectMessage(kernel.run(node, y.data()), "", "neurons");
  // Neuron 2: gate · x = 0. Neuron 0: silu(1) · (−1) · 1.
  expect(std::fabs(y[0] + 1 / (1 + std::exp(-1.0f))) < 1e-6f, "y of neurons", std::to_string(y[0]));
  index[1] = 2;
  expectMessage(kernel.run(node, y.data()), "", "a neuron twice");
  expect(std::isnan(y[0]), "NaN of a neuron twice");
  index[1] = 0;
  expectMessage(kernel.run(node, y.data()),
                "idx 1 of an earlier run is 2, expected distinct neurons 0 to 2", "the next run");
  node.inputs[4].shape = {2, 1};
  expectMessage(kernel.run(node, y.data()), "expected (3, outputs)", "down");
  node.strings["activation"] = "gelu";
  expectMessage(Kernel("NeuronSubsetFFN", node).message, "attribute activation is not \"silu\"", "activation");
}

int load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::printf("%s\n", dlerror()), 1;
  const auto registerOps = reinterpret_cast<decltype(&RegisterCustomOps)>(dlsym(library, "RegisterCustomOps"));
  if (!registerOps) return std::printf("%s\n", dlerror()), 1;
  const std::string message = messageOf(registerOps(nullptr, fakeOnnxruntime()));
  std::printf("%zu operators: %s\n", ops.size(), message.c_str());
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) return load(arguments[1]);
  expectMessage(messageOf(RegisterCustomOps(nullptr, fakeOnnxruntime())), "", "registration");
  expectMessage(messageOf(RegisterCustomOps(nullptr, fakeOnnxruntime())), "", "registration again");
  expect(ops.size() == 14, "operators", std::to_string(ops.size()));
  for (const ort::CustomOp* op : ops)
    expect(op->GetExecutionProviderType(op) == std::string("CUDAExecutionProvider"), "provider");
  testTypes();
  testStranger();
  testContent();
  testShapes();
  testNeurons();
  expect(shim::held == 0, "allocations that are not freed", std::to_string(shim::held));
  std::printf("%ld cases, %ld failures\n", cases, failures);
  return failures == 0 ? 0 : 1;
}
