// As much of an onnxruntime as the CUDA operators ask for: tensors are host memory, a model is a list of inputs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ort/api.h"

namespace test {

struct FakeTensor {
  ort::ElementType type;
  std::vector<int64_t> shape;
  void* data;
  bool isConstant;
};

/** The node: what kernels see as KernelInfo, KernelContext and ShapeInfo. */
struct FakeNode {
  std::vector<FakeTensor> inputs;
  std::map<std::string, int64_t> integers;
  std::map<std::string, std::string> strings;
  FakeTensor output = {};
};

using Ops = std::vector<const ort::CustomOp*>;

/** An onnxruntime whose domains end up in `ops`. */
const ort::ApiBase* fakeOnnxruntime();
extern Ops ops;

/** Message of a status, which is freed; empty: success. */
std::string messageOf(ort::Status* status);

/** The operator of that name and those input types; null: none. */
const ort::CustomOp* findOp(const std::string& name, const FakeNode& node);

/** A kernel, or the message why not. */
struct Kernel {
  const ort::CustomOp* op = nullptr;
  void* self = nullptr;
  std::string message;
  Kernel(const std::string& name, FakeNode& node);
  Kernel(const Kernel&) = delete;
  ~Kernel();
  /** The message of a run of one output into `y`; empty: success. */
  std::string run(FakeNode& node, void* y);
};

}  // namespace test
