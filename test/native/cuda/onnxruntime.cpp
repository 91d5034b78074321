#include "onnxruntime.h"

#include <cstring>

namespace test {

Ops ops;

namespace {

const void* table[320];

template <typename Function>
void set(size_t index, Function* function) {
  table[index] = reinterpret_cast<const void*>(function);
}

const FakeNode& nodeOf(const void* node) { return *static_cast<const FakeNode*>(node); }
const FakeTensor& tensorOf(const void* tensor) { return *static_cast<const FakeTensor*>(tensor); }

void* createStatus(int, const char* text) { return new std::string(text); }
const char* getErrorMessage(const void* status) { return static_cast<const std::string*>(status)->c_str(); }
void releaseStatus(void* status) { delete static_cast<std::string*>(status); }

void* createDomain(const char*, void** domain) { return *domain = &ops, nullptr; }
void* addOp(void*, const ort::CustomOp* op) { return ops.push_back(op), nullptr; }
void* addDomain(void*, void*) { return nullptr; }
void releaseDomain(void*) {}

void* attributeInteger(const void* info, const char* name, int64_t* out) {
  const auto found = nodeOf(info).integers.find(name);
  if (found == nodeOf(info).integers.end()) return createStatus(2, "no such attribute");
  return *out = found->second, nullptr;
}

void* attributeString(const void* info, const char* name, char* out, size_t* size) {
  const auto found = nodeOf(info).strings.find(name);
  if (found == nodeOf(info).strings.end() || found->second.size() >= *size) return createStatus(2, "no such attribute");
  std::strcpy(out, found->second.c_str());
  return nullptr;
}

void* constantInput(const void* info, size_t index, int* isConstant, const void** out) {
  const FakeTensor& tensor = nodeOf(info).inputs[index];
  *isConstant = tensor.isConstant;
  return *out = tensor.isConstant ? &tensor : nullptr, nullptr;
}

void* getInput(const void* context, size_t index, const void** out) {
  return *out = &nodeOf(context).inputs[index], nullptr;
}

void* getOutput(void* context, size_t, const int64_t* shape, size_t rank, void** out) {
  FakeTensor& output = static_cast<FakeNode*>(context)->output;
  output.shape.assign(shape, shape + rank);
  return *out = &output, nullptr;
}

void* getStream(const void*, void** stream) { return *stream = nullptr, nullptr; }
void* getData(void* tensor, void** out) { return *out = tensorOf(tensor).data, nullptr; }
void* getInfo(const void* tensor, const void** out) { return *out = tensor, nullptr; }
void releaseInfo(void*) {}
void* getRank(const void* tensor, size_t* rank) { return *rank = tensorOf(tensor).shape.size(), nullptr; }

void* getDimensions(const void* tensor, int64_t* out, size_t rank) {
  for (size_t i = 0; i < rank; i++) out[i] = tensorOf(tensor).shape[i];
  return nullptr;
}

const ort::ApiTable* getApi(uint32_t version) {
  return version <= ort::kApiVersion ? reinterpret_cast<const ort::ApiTable*>(table) : nullptr;
}
const char* getVersion() { return "fake"; }

}  // namespace

// Indices: ort/api.h, which the operators read the table with.
const ort::ApiBase* fakeOnnxruntime() {
  set(0, createStatus), set(2, getErrorMessage), set(93, releaseStatus);
  set(26, createDomain), set(27, addOp), set(28, addDomain), set(101, releaseDomain);
  set(86, attributeInteger), set(87, attributeString), set(249, constantInput);
  set(90, getInput), set(91, getOutput), set(193, getStream), set(51, getData);
  set(65, getInfo), set(99, releaseInfo), set(61, getRank), set(62, getDimensions);
  static const ort::ApiBase base = {getApi, getVersion};
  return &base;
}

std::string messageOf(ort::Status* status) {
  if (!status) return "";
  const std::string message = getErrorMessage(status);
  releaseStatus(status);
  return message;
}

const ort::CustomOp* findOp(const std::string& name, const FakeNode& node) {
  for (const ort::CustomOp* op : ops) {
    bool isSame = op->GetName(op) == name && op->GetInputTypeCount(op) == node.inputs.size();
    for (size_t i = 0; isSame && i < node.inputs.size(); i++) isSame = op->GetInputType(op, i) == node.inputs[i].type;
    if (isSame) return op;
  }
  return nullptr;
}

Kernel::Kernel(const std::string& name, FakeNode& node) : op(findOp(name, node)) {
  if (!op) message = "no such operator";
  else message = messageOf(op->CreateKernelV2(op, getApi(1), reinterpret_cast<const ort::KernelInfo*>(&node), &self));
}

Kernel::~Kernel() {
  if (self) op->KernelDestroy(self);
}

std::string Kernel::run(FakeNode& node, void* y) {
  if (!self) return message;
  node.output = {op->GetOutputType(op, 0), {}, y, false};
  return messageOf(op->KernelComputeV2(self, reinterpret_cast<ort::KernelContext*>(&node)));
}

}  // namespace test
