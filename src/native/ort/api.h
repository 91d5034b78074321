// The part of onnxruntime's C ABI that this project uses, in own declarations: its headers are in no package registry.
//
// OrtGetApiBase() returns two functions; GetApi(version) returns a table of function pointers. The order of the table
// is frozen: entries are only ever appended, so an index holds for every later onnxruntime. All entries here exist from
// version 22 on (entry 317 is the last of that version). Source of the facts: OrtApi and its size assertions in
// onnxruntime/core/session/onnxruntime_c_api.cc, OrtCustomOp in onnxruntime_c_api.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ort {

constexpr uint32_t kApiVersion = 22;

#ifdef _WIN32
using PathChar = wchar_t;
#else
using PathChar = char;
#endif

// Opaque objects; onnxruntime owns their layout.
struct Allocator;
struct CUDAProviderOptionsV2;
struct CustomOpDomain;
struct Env;
struct KernelContext;
struct KernelInfo;
struct MemoryInfo;
struct RunOptions;
struct Session;
struct SessionOptions;
struct ShapeInferContext;
struct Status;
struct TensorTypeAndShapeInfo;
struct TypeInfo;
struct Value;

enum ErrorCode : int {
  kOk = 0, kFail = 1, kInvalidArgument = 2, kNoSuchFile = 3, kNoModel = 4, kEngineError = 5, kRuntimeException = 6,
  kInvalidProtobuf = 7, kModelLoaded = 8, kNotImplemented = 9, kInvalidGraph = 10, kEpFail = 11,
};
enum LoggingLevel : int { kVerbose = 0, kInfo = 1, kWarning = 2, kError = 3, kFatal = 4 };
enum GraphOptimizationLevel : int { kDisableAll = 0, kBasic = 1, kExtended = 2, kLayout = 3, kAll = 99 };
enum ExecutionMode : int { kSequential = 0, kParallel = 1 };
enum AllocatorType : int { kInvalidAllocator = -1, kDeviceAllocator = 0, kArenaAllocator = 1 };
enum MemType : int { kMemCpuInput = -2, kMemCpuOutput = -1, kMemDefault = 0 };
enum OnnxType : int {
  kUnknown = 0, kTensor = 1, kSequence = 2, kMap = 3, kOpaque = 4, kSparseTensor = 5, kOptional = 6,
};
// The numbers of ONNX TensorProto.DataType.
enum ElementType : int {
  kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kUint16 = 4, kInt16 = 5, kInt32 = 6, kInt64 = 7, kString = 8,
  kBool = 9, kFloat16 = 10, kDouble = 11, kUint32 = 12, kUint64 = 13, kComplex64 = 14, kComplex128 = 15,
  kBfloat16 = 16, kUint4 = 21, kInt4 = 22,
};
enum Characteristic : int { kRequired = 0, kOptionalInput = 1, kVariadic = 2 };

using RunAsyncCallback = void (*)(void* user_data, Value** outputs, size_t output_count, Status* status);

// The table itself; read it through Api below.
struct ApiTable;

// What a custom operator hands over: a struct of functions, each getting the struct itself back.
struct CustomOp {
  uint32_t version = kApiVersion;
  void* (*CreateKernel)(const CustomOp*, const ApiTable*, const KernelInfo*) = nullptr;
  const char* (*GetName)(const CustomOp*) = nullptr;
  const char* (*GetExecutionProviderType)(const CustomOp*) = nullptr;  // null: CPU
  ElementType (*GetInputType)(const CustomOp*, size_t index) = nullptr;
  size_t (*GetInputTypeCount)(const CustomOp*) = nullptr;
  ElementType (*GetOutputType)(const CustomOp*, size_t index) = nullptr;
  size_t (*GetOutputTypeCount)(const CustomOp*) = nullptr;
  void (*KernelCompute)(void* kernel, KernelContext*) = nullptr;
  void (*KernelDestroy)(void* kernel) = nullptr;
  Characteristic (*GetInputCharacteristic)(const CustomOp*, size_t index) = nullptr;
  Characteristic (*GetOutputCharacteristic)(const CustomOp*, size_t index) = nullptr;
  MemType (*GetInputMemoryType)(const CustomOp*, size_t index) = nullptr;
  int (*GetVariadicInputMinArity)(const CustomOp*) = nullptr;
  int (*GetVariadicInputHomogeneity)(const CustomOp*) = nullptr;
  int (*GetVariadicOutputMinArity)(const CustomOp*) = nullptr;
  int (*GetVariadicOutputHomogeneity)(const CustomOp*) = nullptr;
  Status* (*CreateKernelV2)(const CustomOp*, const ApiTable*, const KernelInfo*, void** kernel) = nullptr;
  Status* (*KernelComputeV2)(void* kernel, KernelContext*) = nullptr;
  Status* (*InferOutputShapeFn)(const CustomOp*, ShapeInferContext*) = nullptr;
  int (*GetStartVersion)(const CustomOp*) = nullptr;
  int (*GetEndVersion)(const CustomOp*) = nullptr;
  size_t (*GetMayInplace)(int** inputs, int** outputs) = nullptr;
  void (*ReleaseMayInplace)(int* inputs, int* outputs) = nullptr;
  size_t (*GetAliasMap)(int** inputs, int** outputs) = nullptr;
  void (*ReleaseAliasMap)(int* inputs, int* outputs) = nullptr;
};

struct ApiBase {
  const ApiTable* (*GetApi)(uint32_t version);  // null: this onnxruntime is older than `version`
  const char* (*GetVersionString)();
};
// Exported by libonnxruntime under the name OrtGetApiBase.
using GetApiBaseFn = const ApiBase* (*)();

#define SPEXPAND_ORT(index, result, name, ...)                                        \
  template <typename... Arguments>                                                    \
  result name(Arguments... arguments) const {                                         \
    return reinterpret_cast<result (*)(__VA_ARGS__)>(const_cast<void*>(table_[index])) \
        (arguments...);                                                               \
  }

// Typed access to the table: `api.CreateEnv(…)` calls entry 3. A Status* result is null on success; otherwise the
// caller frees it with ReleaseStatus.
class Api {
 public:
  explicit Api(const ApiTable* table) : table_(reinterpret_cast<const void* const*>(table)) {}
  const ApiTable* table() const { return reinterpret_cast<const ApiTable*>(table_); }

  // Errors
  SPEXPAND_ORT(0, Status*, CreateStatus, ErrorCode, const char*)
  SPEXPAND_ORT(1, ErrorCode, GetErrorCode, const Status*)
  SPEXPAND_ORT(2, const char*, GetErrorMessage, const Status*)
  SPEXPAND_ORT(93, void, ReleaseStatus, Status*)

  // Environment and sessions
  SPEXPAND_ORT(3, Status*, CreateEnv, LoggingLevel, const char* log_id, Env** out)
  SPEXPAND_ORT(92, void, ReleaseEnv, Env*)
  SPEXPAND_ORT(7, Status*, CreateSession, const Env*, const PathChar* path, const SessionOptions*, Session** out)
  SPEXPAND_ORT(8, Status*, CreateSessionFromArray, const Env*, const void* bytes, size_t length,
               const SessionOptions*, Session** out)
  SPEXPAND_ORT(95, void, ReleaseSession, Session*)
  SPEXPAND_ORT(30, Status*, SessionGetInputCount, const Session*, size_t* out)
  SPEXPAND_ORT(31, Status*, SessionGetOutputCount, const Session*, size_t* out)
  SPEXPAND_ORT(36, Status*, SessionGetInputName, const Session*, size_t index, Allocator*, char** out)
  SPEXPAND_ORT(37, Status*, SessionGetOutputName, const Session*, size_t index, Allocator*, char** out)
  SPEXPAND_ORT(33, Status*, SessionGetInputTypeInfo, const Session*, size_t index, TypeInfo** out)
  SPEXPAND_ORT(34, Status*, SessionGetOutputTypeInfo, const Session*, size_t index, TypeInfo** out)
  SPEXPAND_ORT(110, Status*, SessionEndProfiling, Session*, Allocator*, char** file_name)
  SPEXPAND_ORT(125, Status*, GetAvailableProviders, char*** out, int* count)
  SPEXPAND_ORT(126, Status*, ReleaseAvailableProviders, char** names, int count)

  // Session options
  SPEXPAND_ORT(10, Status*, CreateSessionOptions, SessionOptions** out)
  SPEXPAND_ORT(100, void, ReleaseSessionOptions, SessionOptions*)
  SPEXPAND_ORT(11, Status*, SetOptimizedModelFilePath, SessionOptions*, const PathChar* path)
  SPEXPAND_ORT(13, Status*, SetSessionExecutionMode, SessionOptions*, ExecutionMode)
  SPEXPAND_ORT(14, Status*, EnableProfiling, SessionOptions*, const PathChar* prefix)
  SPEXPAND_ORT(16, Status*, EnableMemPattern, SessionOptions*)
  SPEXPAND_ORT(17, Status*, DisableMemPattern, SessionOptions*)
  SPEXPAND_ORT(18, Status*, EnableCpuMemArena, SessionOptions*)
  SPEXPAND_ORT(19, Status*, DisableCpuMemArena, SessionOptions*)
  SPEXPAND_ORT(20, Status*, SetSessionLogId, SessionOptions*, const char*)
  SPEXPAND_ORT(21, Status*, SetSessionLogVerbosityLevel, SessionOptions*, int)
  SPEXPAND_ORT(22, Status*, SetSessionLogSeverityLevel, SessionOptions*, int)
  SPEXPAND_ORT(23, Status*, SetSessionGraphOptimizationLevel, SessionOptions*, GraphOptimizationLevel)
  SPEXPAND_ORT(24, Status*, SetIntraOpNumThreads, SessionOptions*, int)
  SPEXPAND_ORT(25, Status*, SetInterOpNumThreads, SessionOptions*, int)
  SPEXPAND_ORT(124, Status*, AddFreeDimensionOverrideByName, SessionOptions*, const char* name, int64_t value)
  SPEXPAND_ORT(130, Status*, AddSessionConfigEntry, SessionOptions*, const char* key, const char* value)
  SPEXPAND_ORT(210, Status*, AddExternalInitializers, SessionOptions*, const char* const* names,
               const Value* const* values, size_t count)
  SPEXPAND_ORT(279, Status*, AddExternalInitializersFromFilesInMemory, SessionOptions*,
               const PathChar* const* file_names, char* const* buffers, const size_t* lengths, size_t count)
  SPEXPAND_ORT(205, Status*, CreateCUDAProviderOptions, CUDAProviderOptionsV2** out)
  SPEXPAND_ORT(206, Status*, UpdateCUDAProviderOptions, CUDAProviderOptionsV2*, const char* const* keys,
               const char* const* values, size_t count)
  SPEXPAND_ORT(208, void, ReleaseCUDAProviderOptions, CUDAProviderOptionsV2*)
  SPEXPAND_ORT(204, Status*, SessionOptionsAppendExecutionProvider_CUDA_V2, SessionOptions*,
               const CUDAProviderOptionsV2*)
  SPEXPAND_ORT(216, Status*, SessionOptionsAppendExecutionProvider, SessionOptions*, const char* name,
               const char* const* keys, const char* const* values, size_t count)

  // Custom operators
  SPEXPAND_ORT(26, Status*, CreateCustomOpDomain, const char* domain, CustomOpDomain** out)
  SPEXPAND_ORT(27, Status*, CustomOpDomain_Add, CustomOpDomain*, const CustomOp*)
  SPEXPAND_ORT(28, Status*, AddCustomOpDomain, SessionOptions*, CustomOpDomain*)
  SPEXPAND_ORT(101, void, ReleaseCustomOpDomain, CustomOpDomain*)
  SPEXPAND_ORT(228, Status*, RegisterCustomOpsLibrary_V2, SessionOptions*, const PathChar* library)
  SPEXPAND_ORT(229, Status*, RegisterCustomOpsUsingFunction, SessionOptions*, const char* function_name)

  // Runs
  SPEXPAND_ORT(9, Status*, Run, Session*, const RunOptions*, const char* const* input_names,
               const Value* const* inputs, size_t input_count, const char* const* output_names, size_t output_count,
               Value** outputs)
  SPEXPAND_ORT(260, Status*, RunAsync, Session*, const RunOptions*, const char* const* input_names,
               const Value* const* inputs, size_t input_count, const char* const* output_names, size_t output_count,
               Value** outputs, RunAsyncCallback, void* user_data)
  SPEXPAND_ORT(39, Status*, CreateRunOptions, RunOptions** out)
  SPEXPAND_ORT(97, void, ReleaseRunOptions, RunOptions*)
  SPEXPAND_ORT(40, Status*, RunOptionsSetRunLogVerbosityLevel, RunOptions*, int)
  SPEXPAND_ORT(41, Status*, RunOptionsSetRunLogSeverityLevel, RunOptions*, int)
  SPEXPAND_ORT(42, Status*, RunOptionsSetRunTag, RunOptions*, const char*)
  SPEXPAND_ORT(46, Status*, RunOptionsSetTerminate, RunOptions*)
  SPEXPAND_ORT(47, Status*, RunOptionsUnsetTerminate, RunOptions*)
  SPEXPAND_ORT(165, Status*, AddRunConfigEntry, RunOptions*, const char* key, const char* value)

  // Values and memory
  SPEXPAND_ORT(48, Status*, CreateTensorAsOrtValue, Allocator*, const int64_t* shape, size_t rank, ElementType,
               Value** out)
  SPEXPAND_ORT(49, Status*, CreateTensorWithDataAsOrtValue, const MemoryInfo*, void* data, size_t bytes,
               const int64_t* shape, size_t rank, ElementType, Value** out)
  SPEXPAND_ORT(292, Status*, CreateTensorWithDataAndDeleterAsOrtValue, Allocator* deleter, void* data, size_t bytes,
               const int64_t* shape, size_t rank, ElementType, Value** out)
  SPEXPAND_ORT(96, void, ReleaseValue, Value*)
  SPEXPAND_ORT(50, Status*, IsTensor, const Value*, int* out)
  SPEXPAND_ORT(192, Status*, HasValue, const Value*, int* out)
  SPEXPAND_ORT(67, Status*, GetValueType, const Value*, OnnxType* out)
  SPEXPAND_ORT(51, Status*, GetTensorMutableData, Value*, void** out)
  SPEXPAND_ORT(194, Status*, GetTensorMemoryInfo, const Value*, const MemoryInfo** out)
  SPEXPAND_ORT(52, Status*, FillStringTensor, Value*, const char* const* strings, size_t count)
  SPEXPAND_ORT(53, Status*, GetStringTensorDataLength, const Value*, size_t* bytes)
  SPEXPAND_ORT(54, Status*, GetStringTensorContent, const Value*, void* text, size_t bytes, size_t* offsets,
               size_t count)
  SPEXPAND_ORT(69, Status*, CreateCpuMemoryInfo, AllocatorType, MemType, MemoryInfo** out)
  SPEXPAND_ORT(68, Status*, CreateMemoryInfo, const char* name, AllocatorType, int device, MemType, MemoryInfo** out)
  SPEXPAND_ORT(71, Status*, MemoryInfoGetName, const MemoryInfo*, const char** out)
  SPEXPAND_ORT(94, void, ReleaseMemoryInfo, MemoryInfo*)
  SPEXPAND_ORT(78, Status*, GetAllocatorWithDefaultOptions, Allocator** out)
  SPEXPAND_ORT(75, Status*, AllocatorAlloc, Allocator*, size_t bytes, void** out)
  SPEXPAND_ORT(76, Status*, AllocatorFree, Allocator*, void*)

  // Types and shapes
  SPEXPAND_ORT(65, Status*, GetTensorTypeAndShape, const Value*, TensorTypeAndShapeInfo** out)
  SPEXPAND_ORT(99, void, ReleaseTensorTypeAndShapeInfo, TensorTypeAndShapeInfo*)
  SPEXPAND_ORT(60, Status*, GetTensorElementType, const TensorTypeAndShapeInfo*, ElementType* out)
  SPEXPAND_ORT(61, Status*, GetDimensionsCount, const TensorTypeAndShapeInfo*, size_t* rank)
  SPEXPAND_ORT(62, Status*, GetDimensions, const TensorTypeAndShapeInfo*, int64_t* dimensions, size_t rank)
  SPEXPAND_ORT(63, Status*, GetSymbolicDimensions, const TensorTypeAndShapeInfo*, const char** names, size_t rank)
  SPEXPAND_ORT(64, Status*, GetTensorShapeElementCount, const TensorTypeAndShapeInfo*, size_t* out)
  SPEXPAND_ORT(55, Status*, CastTypeInfoToTensorInfo, const TypeInfo*, const TensorTypeAndShapeInfo** out)
  SPEXPAND_ORT(56, Status*, GetOnnxTypeFromTypeInfo, const TypeInfo*, OnnxType* out)
  SPEXPAND_ORT(98, void, ReleaseTypeInfo, TypeInfo*)

  // Inside a kernel
  SPEXPAND_ORT(85, Status*, KernelInfoGetAttribute_float, const KernelInfo*, const char* name, float* out)
  SPEXPAND_ORT(86, Status*, KernelInfoGetAttribute_int64, const KernelInfo*, const char* name, int64_t* out)
  SPEXPAND_ORT(87, Status*, KernelInfoGetAttribute_string, const KernelInfo*, const char* name, char* out, size_t* size)
  SPEXPAND_ORT(249, Status*, KernelInfoGetConstantInput_tensor, const KernelInfo*, size_t index, int* is_constant,
               const Value** out)
  SPEXPAND_ORT(230, Status*, KernelInfo_GetInputCount, const KernelInfo*, size_t* out)
  SPEXPAND_ORT(234, Status*, KernelInfo_GetInputTypeInfo, const KernelInfo*, size_t index, TypeInfo** out)
  SPEXPAND_ORT(244, Status*, KernelInfo_GetNodeName, const KernelInfo*, char* out, size_t* size)
  SPEXPAND_ORT(88, Status*, KernelContext_GetInputCount, const KernelContext*, size_t* out)
  SPEXPAND_ORT(89, Status*, KernelContext_GetOutputCount, const KernelContext*, size_t* out)
  SPEXPAND_ORT(90, Status*, KernelContext_GetInput, const KernelContext*, size_t index, const Value** out)
  SPEXPAND_ORT(91, Status*, KernelContext_GetOutput, KernelContext*, size_t index, const int64_t* shape, size_t rank,
               Value** out)
  SPEXPAND_ORT(193, Status*, KernelContext_GetGPUComputeStream, const KernelContext*, void** out)
  SPEXPAND_ORT(253, Status*, KernelContext_GetAllocator, const KernelContext*, const MemoryInfo*, Allocator** out)
  SPEXPAND_ORT(274, Status*, KernelContext_ParallelFor, const KernelContext*, void (*body)(void* user_data,
               size_t index), size_t total, size_t batches, void* user_data)

 private:
  const void* const* table_;
};

#undef SPEXPAND_ORT

}  // namespace ort
