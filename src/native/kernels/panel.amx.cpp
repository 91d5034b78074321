// Panels on AMX bf16 tiles. A panel is 32 rows of weights, decoded into bf16; tokens are packed once, 16 a tile. Tiles
// add up bf16 products in f32, so numbers go in as sums of bf16 parts: an f16 weight is exactly high + low, bf16
// weights and integers are one part, and x is high + low and a rest of at most 2^-17 |x|, which is left out. An f16 x
// loses nothing.
//
// Decoding one chunk of 64 inputs and multiplying the one before are dealt into each other: tiles work while the
// vector units decode.

#include "kernels/expand.avx512.h"
#include "kernels/half.h"
#include "kernels/transpose.avx512.h"

namespace spexpand::amx {

using namespace avx512;

namespace {

constexpr long kTileBytes = 1024;
constexpr long kTokenBytes = 2 * 2 * kTileTokens;  // of an input: two parts for 16 tokens
constexpr long kTokenTiles = 2;  // together with two tiles of rows: four sums of 16 x 16
constexpr long kSums = 2 * kTileTokens;

struct TileConfig {
  uint8_t palette = 1;
  uint8_t startRow = 0;
  uint8_t reserved[14] = {};
  uint16_t bytesPerRow[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/** The upper halves of two vectors in pairs (a0, b0, a1, b1, …): inputs i and 16 + i of a step lie side by side. */
inline __m512i pairHigh(__m512i a, __m512i b) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  return _mm512_ternarylogic_epi32(_mm512_srli_epi32(a, 16), b, upper, 0xf8);  // (a >> 16) | (b & upper)
}

inline __m512i pairHigh(__m512 a, __m512 b) { return pairHigh(_mm512_castps_si512(a), _mm512_castps_si512(b)); }

/** Of finite numbers: their upper halves are then the nearest bf16. */
inline __m512i roundHalf(__m512 v) { return _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000)); }

/** What is left of v without the upper half of `rounded`. */
inline __m512 rest(__m512 v, __m512i rounded) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  return _mm512_sub_ps(v, _mm512_castsi512_ps(_mm512_and_si512(rounded, upper)));
}

enum class Kind { f16, bf16, bytes, nibbles };

template <Kind kind>
constexpr int kParts = kind == Kind::f16 ? 2 : 1;
/** Bytes of 32 rows and 32 inputs. */
template <Kind kind>
constexpr long kStepBytes = kParts<kind> * 2 * kTileBytes;

/** A panel: where each row's next value is, and the decoded parts, (steps, parts, 32 rows, 32 inputs). */
struct Panel {
  const uint8_t* masks[kPanelRows];
  const uint8_t* values[kPanelRows];
  long maskBytes;
  long rows;
  uint8_t* decoded;
};

inline void writeF16(__m512i halves, uint8_t* out) {
  alignas(64) __m256i both[2];
  _mm512_store_si512(both, halves);
  asm("" : "+m"(both));  // loads that convert spare the busy shuffle port
  const __m512 a = _mm512_cvtph_ps(both[0]);
  const __m512 b = _mm512_cvtph_ps(both[1]);
  const __m512i roundedA = roundHalf(a);
  const __m512i roundedB = roundHalf(b);
  _mm512_store_si512(out, pairHigh(roundedA, roundedB));
  _mm512_store_si512(out + 2 * kTileBytes, pairHigh(rest(a, roundedA), rest(b, roundedB)));
}

inline void writeBytes(const int8_t* bytes, uint8_t* out) {
  const auto* sixteens = reinterpret_cast<const __m128i*>(bytes);
  const __m512 a = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(sixteens)));
  const __m512 b = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(sixteens + 1)));
  _mm512_store_si512(out, pairHigh(a, b));
}

/** Inputs 64 · chunk … + 63 of row r. */
template <Kind kind, bool isLast>
inline void decodeChunk(Panel& panel, long r, long chunk) {
  uint8_t* out = panel.decoded + chunk * 2 * kStepBytes<kind> + r * 64;
  const uint64_t kept = maskAt(panel.masks[r], panel.maskBytes, chunk * 8);
  if (kind == Kind::f16 || kind == Kind::bf16) {
    const auto* values = reinterpret_cast<const uint16_t*>(panel.values[r]);
    const auto first = static_cast<uint32_t>(kept);
    const __m512i low = expandWords<isLast>(values, first);
    const __m512i high = expandWords<isLast>(values + __builtin_popcount(first), static_cast<uint32_t>(kept >> 32));
    if (kind == Kind::f16) {
      writeF16(low, out);
      writeF16(high, out + kStepBytes<kind>);
    } else {
      _mm512_store_si512(out, pairHalves(low));
      _mm512_store_si512(out + kStepBytes<kind>, pairHalves(high));
    }
    panel.values[r] = reinterpret_cast<const uint8_t*>(values + __builtin_popcountll(kept));
  } else {
    constexpr Source source = kind == Kind::nibbles ? Source::nibbles : isLast ? Source::lastBytes : Source::bytes;
    const __m512i offset = _mm512_set1_epi8(kind == Kind::nibbles ? 8 : -128);
    const __m512i raised = expandBytes<source>(reinterpret_cast<const int8_t*>(panel.values[r]), kept);
    alignas(64) int8_t weights[64];
    _mm512_store_si512(weights, _mm512_sub_epi8(raised, offset));
    writeBytes(weights, out);
    writeBytes(weights + 32, out + kStepBytes<kind>);
    panel.values[r] += __builtin_popcountll(kept);
  }
  prefetchAhead(panel.values[r]);
}

/** Two rows of tiles of weights in tiles 4 and 5, one or two tiles of tokens in 6 and 7. */
template <int tiles>
inline void multiplyTiles() {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(2, 5, 6);
  if (tiles == 2) _tile_dpbf16ps(1, 4, 7);
  if (tiles == 2) _tile_dpbf16ps(3, 5, 7);
}

inline void loadWeights(const uint8_t* at) {
  asm volatile("" ::: "memory");  // gcc does not know that tile loads read memory
  _tile_loadd(4, at, 64);
  _tile_loadd(5, at + kTileBytes, 64);
}

template <int tiles>
inline void loadTokens(const uint8_t* at, long tileStride) {
  _tile_loadd(6, at, 64);
  if (tiles == 2) _tile_loadd(7, at + tileStride, 64);
}

/** One product of parts of a step; high and low lie one behind the other. With one part of weights: 0 and 4. */
template <int tiles>
inline void multiplyPart(int part, const uint8_t* weights, const uint8_t* x, long tileStride) {
  switch (part) {
    case 0:
      loadWeights(weights);
      loadTokens<tiles>(x + kTileBytes, tileStride);
      break;
    case 1: loadWeights(weights + 2 * kTileBytes); break;
    case 2: loadTokens<tiles>(x, tileStride); break;
    case 3: loadWeights(weights); break;
    case 4: loadTokens<tiles>(x, tileStride); break;
  }
  multiplyTiles<tiles>();
}

inline void clearSums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

/** The sums of 32 rows and 32 tokens, (32, 32). */
inline void storeSums(float* sums) {
  _tile_stored(0, sums, kSums * 4);
  _tile_stored(1, sums + 16, kSums * 4);
  _tile_stored(2, sums + 16 * kSums, kSums * 4);
  _tile_stored(3, sums + 16 * kSums + 16, kSums * 4);
}

/** What belongs to a block of 32 rows and up to 32 tokens. */
struct Block {
  const PanelTask* task;
  long row;        // in the stack
  long rows;
  long firstTile;
  float* sums;     // (32, 32), then as many for groups of scales
};

/** total (+)= scale of the row and group · sums, for the inputs up to `step`. */
inline void addGroup(const Block& block, long group) {
  const Stack& stack = *block.task->stack;
  float* total = block.sums + kSums * kPanelRows;
  storeSums(block.sums);
  clearSums();
  for (long r = 0; r < block.rows; r++) {
    const __m512 scale = _mm512_set1_ps(f16ToFloat(stack.scales[(block.row + r) * stack.groups + group]));
    for (long v = 0; v < kSums; v += 16) {
      const __m512 sums = _mm512_load_ps(block.sums + r * kSums + v);
      float* at = total + r * kSums + v;
      _mm512_store_ps(at, group ? _mm512_fmadd_ps(scale, sums, _mm512_load_ps(at)) : _mm512_mul_ps(scale, sums));
    }
  }
}

/** Columns of the sums become rows of y. */
inline void writeBlock(const Block& block, const float* sums) {
  const PanelTask& task = *block.task;
  const long first = block.firstTile * kTileTokens;
  const long tokens = task.tokenCount - first < kSums ? task.tokenCount - first : kSums;
  for (long r = 0; r < block.rows; r += 16) {
    const auto there = static_cast<__mmask16>(lowBits64(block.rows - r));
    for (long t = 0; t < tokens; t += 16) {
      __m512i square[16];
      for (long i = 0; i < 16; i++) square[i] = _mm512_load_si512(sums + (r + i) * kSums + t);
      transpose16x16(square);
      for (long i = 0; i < 16 && t + i < tokens; i++) {
        float* y = task.y + task.tokens[first + t + i] * task.yStride + task.column + (block.row - task.row) + r;
        _mm512_mask_storeu_ps(y, there, _mm512_castsi512_ps(square[i]));
      }
    }
  }
}

/**
 * All inputs of a block. With `decodes`, the panel is decoded on the way, one chunk ahead; without, it lies there from
 * the tokens before.
 */
template <Kind kind, int tiles, bool decodes, bool isLast>
inline void multiplyBlock(Panel& panel, const Block& block) {
  constexpr int products = kParts<kind> * 2;
  constexpr int pieces = 2 * products;
  const Stack& stack = *block.task->stack;
  const long tileStride = block.task->padded * kTokenBytes;
  const uint8_t* x = block.task->packed + block.firstTile * tileStride;
  const long chunks = (stack.inputs + 63) / 64;
  const long groupSteps = stack.scales ? (stack.groupSize ? stack.groupSize / 32 : chunks * 2) : 0;
  if (decodes)
    for (long r = 0; r < panel.rows; r++) decodeChunk<kind, isLast>(panel, r, 0);
  clearSums();
  for (long chunk = 0; chunk < chunks; chunk++) {
    const uint8_t* weights = panel.decoded + chunk * 2 * kStepBytes<kind>;
#pragma GCC unroll 8
    for (int piece = 0; piece < pieces; piece++) {
      const long step = chunk * 2 + piece / products;
      multiplyPart<tiles>(products == 2 ? piece % 2 * 4 : piece % 4, weights + piece / products * kStepBytes<kind>,
                          x + step * 2 * kTileBytes, tileStride);
      if (decodes && chunk + 1 < chunks)
        for (long r = panel.rows * piece / pieces; r < panel.rows * (piece + 1) / pieces; r++)
          decodeChunk<kind, isLast>(panel, r, chunk + 1);
      const bool endsGroup = groupSteps && piece % products == products - 1 && (step + 1) % groupSteps == 0;
      if (endsGroup && step / groupSteps < stack.groups) addGroup(block, step / groupSteps);
    }
  }
  if (!groupSteps) storeSums(block.sums);
  else if (chunks * 2 % groupSteps && (chunks * 2 - 1) / groupSteps < stack.groups)
    addGroup(block, (chunks * 2 - 1) / groupSteps);
  writeBlock(block, groupSteps ? block.sums + kSums * kPanelRows : block.sums);
}

template <Kind kind, bool isLast>
void multiplyPanel(Panel& panel, Block& block) {
  const long tiles = (block.task->tokenCount + kTileTokens - 1) / kTileTokens;
  for (block.firstTile = 0; block.firstTile < tiles; block.firstTile += kTokenTiles) {
    const bool isPair = block.firstTile + 1 < tiles;
    if (block.firstTile == 0)
      isPair ? multiplyBlock<kind, 2, true, isLast>(panel, block) : multiplyBlock<kind, 1, true, isLast>(panel, block);
    else
      isPair ? multiplyBlock<kind, 2, false, false>(panel, block) : multiplyBlock<kind, 1, false, false>(panel, block);
  }
}

/** Where the rows begin; nibbles are unpacked first. */
void openPanel(const Block& block, Panel& panel, uint8_t* unpacked) {
  const Stack& stack = *block.task->stack;
  const long width = block.task->padded + 256;
  panel.maskBytes = stack.maskBytes;
  panel.rows = block.rows;
  for (long r = 0; r < block.rows; r++) {
    const long begin = stack.rowBegin(block.row + r);
    const auto* values = static_cast<const uint8_t*>(stack.values);
    panel.masks[r] = stack.mask + (block.row + r) * stack.maskBytes;
    if (stack.type != ValueType::int4) {
      panel.values[r] = values + begin * (stack.type == ValueType::int8 ? 1 : 2);
      continue;
    }
    auto* own = reinterpret_cast<int8_t*>(unpacked + r * width);
    unpackNibbles(values, (stack.valueCount + 1) / 2, begin, stack.rowEnd(block.row + r) - begin, own);
    panel.values[r] = reinterpret_cast<const uint8_t*>(own + (begin & 1));
  }
}

template <Kind kind>
void panels(const PanelTask& task) {
  auto* scratch = static_cast<uint8_t*>(task.scratch);
  const Stack& stack = *task.stack;
  Panel panel;
  panel.decoded = scratch + 16 * 1024;
  uint8_t* unpacked = panel.decoded + kPanelRows * task.padded * 4;
  const TileConfig config;
  _tile_loadconfig(&config);
  for (long r = 0; r < task.rows; r += kPanelRows) {
    const long rows = task.rows - r < kPanelRows ? task.rows - r : kPanelRows;
    Block block{&task, task.row + r, rows, 0, reinterpret_cast<float*>(scratch)};
    openPanel(block, panel, unpacked);
    const bool isInside = stack.rowEnd(block.row + rows - 1) + 64 <= stack.valueCount;
    isInside ? multiplyPanel<kind, false>(panel, block) : multiplyPanel<kind, true>(panel, block);
  }
  _tile_release();
}

/** 16 tokens as pairs of inputs: row i of a tile holds inputs i and 16 + i of the step for every token. */
void packTile(const float* x, long tokens, long padded, uint8_t* out) {
  for (long k = 0; k < padded; k += 32, out += 2 * kTileBytes) {
    __m512i high[16], low[16];
    for (long t = 0; t < 16; t++) {
      const __m512 a = t < tokens ? _mm512_loadu_ps(x + t * padded + k) : _mm512_setzero_ps();
      const __m512 b = t < tokens ? _mm512_loadu_ps(x + t * padded + k + 16) : _mm512_setzero_ps();
      // Unlike roundHalf() this keeps a NaN.
      high[t] = pairHalves((__m512i)_mm512_cvtne2ps_pbh(b, a));
      const __m512 restOfA = _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_slli_epi32(high[t], 16)));
      low[t] = pairHalves((__m512i)_mm512_cvtne2ps_pbh(rest(b, high[t]), restOfA));
    }
    transpose16x16(high);
    transpose16x16(low);
    for (long i = 0; i < 16; i++) {
      _mm512_store_si512(out + i * 64, high[i]);
      _mm512_store_si512(out + kTileBytes + i * 64, low[i]);
    }
  }
}

void panel(const PanelTask& task) {
  switch (task.stack->type) {
    case ValueType::f16: return panels<Kind::f16>(task);
    case ValueType::bf16: return panels<Kind::bf16>(task);
    case ValueType::int8: return panels<Kind::bytes>(task);
    case ValueType::int4: return panels<Kind::nibbles>(task);
  }
}

}  // namespace

}  // namespace spexpand::amx

namespace spexpand {

const Isa kAmx = {"amx",
                  9,
                  9,
                  true,
                  avx512::halfRows,
                  avx512::roundInputs,
                  avx512::integerRows,
                  avx512::decodeRow,
                  amx::kTokenBytes,
                  amx::packTile,
                  amx::panel,
                  avx512::dot,
                  avx512::axpy,
                  avx512::countBits,
                  avx512::allFinite};

}  // namespace spexpand
