// What one instruction set offers. The drivers (sparse_matmul.cpp, neuron_ffn.cpp) are the same for all.
#pragma once

#include <cstdint>

#include "kernels/rounded.h"
#include "kernels/stack.h"

namespace spexpand {

/** Weights that are stored dense. */
enum class DenseType { f32, f16, bf16 };

/** Most tokens that a row is decoded for at once; more go to the dense product. */
constexpr long kFewTokens = 8;
/** Rows of inputs are padded with zeros to a multiple of this. */
constexpr long kPad = 128;

/** The tokens' inputs, prepared once per call. */
struct Inputs {
  long padded;             // inputs, rounded up to kPad
  const float* f32;        // (tokens, padded); Isa::splitsBf16 says in which order
  // Rounded to int8 in blocks (accuracy level 4): x ≈ blockScales · rounded. See rounded.h.
  const int8_t* rounded;   // (tokens, padded)
  const float* blockScales;    // (tokens, padded / blockInputs)
  const int32_t* corrections;  // (tokens, padded / stepInputs, 16): −offset · sums of four neighbours
  long blockInputs;        // 32, 64 or 128
};

/** A few rows of one expert for a few tokens: y[tokens[t] · yStride + column + r] = W[row + r] · x[tokens[t]]. */
struct RowsTask {
  const Stack* stack;
  long row;
  long rows;
  const Inputs* inputs;
  const int64_t* tokens;
  long tokenCount;  // 1 … kFewTokens
  float* y;
  long yStride;
  long column;
  void* scratch;    // rowScratchBytes(stack, inputs), aligned to 64
};

/** Tokens that are packed together for panels. */
constexpr long kTileTokens = 16;
/** Most rows that a panel holds decoded. */
constexpr long kPanelRows = 32;

/** Rows of one expert for many of its tokens: y[tokens[t] · yStride + column + r] = W[row + r] · x[tokens[t]]. */
struct PanelTask {
  const Stack* stack;
  long row;
  long rows;
  long padded;              // inputs, rounded up to kPad
  const uint8_t* packed;    // ⌈tokenCount / kTileTokens⌉ tiles of Isa::packTile(), one behind the other
  const int64_t* tokens;
  long tokenCount;
  float* y;
  long yStride;
  long column;
  void* scratch;            // panelScratchBytes(padded), aligned to 64
};

/** Kernels are compiled for 1, 2, 3, 4 and 8 tokens; in between the last token is computed more than once. */
static inline int64_t tokenAt(const RowsTask& task, long t) {
  return task.tokens[t < task.tokenCount ? t : task.tokenCount - 1];
}

/** Which of five kernels serves so many tokens. */
static inline long kernelFor(long tokenCount) { return tokenCount <= 4 ? tokenCount - 1 : 4; }

struct Isa {
  const char* name;
  /** From how many tokens of an expert on panels are faster than rows, for f16 and bf16 values and for integers. */
  long panelTokens;
  long panelTokensInteger;
  /** bf16 values want the inputs of every 32 as the 16 even ones, then the 16 odd ones. */
  bool splitsBf16;
  /** f16 and bf16 values. */
  void (*halfRows)(const RowsTask&);
  /** One token to int8 (rounded.h): every instruction set makes the same integers. */
  RoundInputs roundInputs;
  /** int8 and int4 values times rounded inputs. */
  void (*integerRows)(const RowsTask&);
  /** One row of weights as f32; `out` has room for `padded` elements, those from K on become 0. */
  void (*decodeRow)(const Stack&, long row, float* out, long padded, void* scratch);
  /** Bytes of a packed tile per input. */
  long tileBytes;
  /** Up to kTileTokens rows of inputs (tokens, padded) into the form that `panel` wants; missing tokens are zeros. */
  void (*packTile)(const float* x, long tokens, long padded, uint8_t* out);
  void (*panel)(const PanelTask&);
  float (*dot)(DenseType, const void* weights, const float* x, long count);
  /** y += a · weights */
  void (*axpy)(DenseType, float a, const void* weights, float* y, long count);
  /** Ones among the bits of `bytes` bytes. */
  long (*countBits)(const uint8_t* mask, long bytes);
  /** Whether in none of `count` numbers all bits of `exponent` are set. */
  bool (*allFinite)(const uint16_t* numbers, long count, uint16_t exponent);
};

/** Nibbles are unpacked for as many rows as fit here, at least one. */
constexpr long kUnpackedBytes = 8192;
/** Room for values (f16 of a row, or bytes of some rows) and for scales per block and token. */
static inline long unpackedBytes(long padded) { return kUnpackedBytes + 2 * padded + 256; }
static inline long rowScratchBytes(long padded) {
  return unpackedBytes(padded) + (kFewTokens + 1) * (padded / 32 + 16) * 4;
}

/** Room for a decoded panel, its sums, and the unpacked values of its rows. */
static inline long panelScratchBytes(long padded) {
  return kPanelRows * (padded * 4 + padded + 256) + 16 * 1024;
}

extern const Isa kScalar;
#if defined(__x86_64__)
extern const Isa kAvx2;
extern const Isa kAvx512;
/** kAvx512 with panels on tiles. */
extern const Isa kAmx;
#elif defined(__aarch64__)
extern const Isa kNeon;
/** kNeon with integers by sdot. */
extern const Isa kNeonDot;
#endif

/** By Isa::name. Null and an error where this processor or this build has no such thing. */
const Isa* isaNamed(const char* name, Error& error);
/** The best of this processor, or the one that the environment variable SPEXPAND_ISA names. */
const Isa* chooseIsa(Error& error);

}  // namespace spexpand
