// The public API.
export { wassersteinToNormal } from './entangle/wasserstein.ts'
export type { ClustersExperiment, EntangleReport, SubsetExperiment } from './entangle/types.ts'
export { inspect } from './verify/inspect.ts'
export type { InspectResult } from './verify/inspect.ts'
export { EXIT_CODES, SpexpandError } from './errors.ts'
export type { ErrorKind } from './errors.ts'
export { readSafetensors } from './formats/safetensors/reader.ts'
export { writeSafetensors } from './formats/safetensors/writer.ts'
export { route } from './cluster/route.ts'
export { fitRouter } from './cluster/router.ts'
export type { FitRouterOptions, Router, RouterFit } from './cluster/router.ts'
export { openModel } from './model/open.ts'
export type { OpenedModel } from './model/open.ts'
export { openTokenizer } from './model/tokenizer.ts'
export type { Tokenizer } from './model/tokenizer.ts'
export {
  compress,
  entangle,
  entangleFiles,
  evaluate,
  forwardFile,
  generate,
  generateAll,
  plan,
  predict,
  predictHireFiles,
  verify,
} from './pipeline/any-model.ts'
export type { AnyModel, ChatOption } from './pipeline/any-model.ts'
export { openChatTemplate } from './pipeline/chat.ts'
export type { ChatMessage, ChatTemplate, Conversation } from './pipeline/chat.ts'
export { localModel } from './pipeline/local-model.ts'
export type { LocalModelOptions, ModelSource } from './pipeline/local-model.ts'
export { calibrate } from './pipeline/calibrate.ts'
export type { CalibrateOptions } from './pipeline/calibrate.ts'
export { exportGenai } from './pipeline/convert/genai.ts'
export type { GenaiOptions, GenaiResult } from './pipeline/convert/genai.ts'
export { exportGguf } from './pipeline/convert/gguf.ts'
export type { GgufOptions, GgufResult } from './pipeline/convert/gguf.ts'
export { exportHfDense } from './pipeline/convert/hf-dense.ts'
export type { HfDenseOptions, HfDenseResult } from './pipeline/convert/hf-dense.ts'
export { exportMixtral } from './pipeline/convert/mixtral.ts'
export type { MixtralOptions, MixtralResult } from './pipeline/convert/mixtral.ts'
export { doctor } from './pipeline/doctor.ts'
export type { DoctorResult } from './pipeline/doctor.ts'
export { writeEntanglement } from './pipeline/entangle/files.ts'
export type { EntangleFilesResult } from './pipeline/entangle/files.ts'
export type { EntangleOptions, Experiment } from './pipeline/entangle/options.ts'
export type { ForwardFileOptions } from './pipeline/files.ts'
export { pruneMatrixFile } from './pipeline/prune-matrix-file.ts'
export type { PruneMatrixFileOptions, PruneMatrixFileResult } from './pipeline/prune-matrix-file.ts'
export { forward } from './pipeline/forward.ts'
export type { ForwardOptions, InputIds } from './pipeline/forward.ts'
export type { GenerateAllOptions, GenerateOptions, GenerateResult } from './pipeline/generate.ts'
export type { PredictOptions, PredictResult } from './pipeline/predict/predict.ts'
export type { HireCandidate, HireDensity, HireOptions, HireResult, HireSection } from './pipeline/predict/hire-types.ts'
export { predictHire } from './pipeline/predict/hire.ts'
export type { HireRow, PredictHireOptions } from './pipeline/predict/hire.ts'
export type { HireLayer, HirePredictor, HireSoftmax } from './predict/predictor.ts'
export type { Flocking, GriffinReport, PredictGriffinOptions } from './pipeline/predict/types.ts'
export type {
  BlockStats,
  CompressOptions,
  CompressResult,
  EvaluateOptions,
  EvaluateResult,
  ExpertStats,
  Fallback,
  MatrixStats,
  Method,
  Pattern,
  PlanResult,
  Progress,
  Quality,
  TextSource,
  ValueType,
} from './pipeline/types.ts'
export type { Gate, VerifyOptions, VerifyResult } from './pipeline/verify/types.ts'
export { pruneMatrix } from './prune/prune-matrix.ts'
export { createBlas } from './runtime/blas.ts'
export { registerProvider } from './runtime/provider.ts'
export type { Provider } from './runtime/session.ts'
export type { Blas, GemmOptions } from './tensor/blas.ts'
export type { Mat } from './tensor/mat.ts'
export type { DType, RawTensor } from './tensor/dtype.ts'
