// One token, and few tokens: a warp for two output rows. Kept values are brought to shared memory 1024 inputs ahead;
// a lane takes 4 neighbouring inputs of each 128 and finds their values by the number of mask bits before them.
#pragma once

#include "cuda/machine.h"
#include "cuda/product.h"
#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

constexpr int kRowWarps = 4;
constexpr int kWarpRows = 2;
/** Tokens of one expert for which its rows are read once here; more go to the tiles (tiles.h). */
constexpr int kMostRowTokens = 8;
/** Inputs of a segment: a mask word per lane. */
constexpr int kSegment = kWarp * kWarp;
constexpr int kLaneInputs = 4;

/** What a lane looks up for its inputs. */
struct alignas(8) Word {
  uint32_t bits;
  uint32_t at;  // of its first value, in elements of a stage's values
};

/** Of a warp. Values: a segment without zeros, begun and ended on multiples of 16 bytes; a window reads one word more. */
template <ValueType kType>
struct RowStage {
  alignas(16) uint8_t values[2][kWarpRows][kSegment * kBits<kType> / 8 + 32];
  Word words[kWarpRows][kWarp];
  float scales[kIsInteger<kType> ? kWarpRows : 1][kWarp];
};

/** The weights of a lane in a step. */
struct Decoded {
  float weights[kWarpRows][kLaneInputs];
  uint32_t bits[kWarpRows];
};

/** Two rows on their way from the stack to a warp, a segment after another. kWide: mask and values are aligned to 16. */
template <ValueType kType, bool kWide>
struct RowReader {
  const Stack& stack;
  RowStage<kType>& stage;
  const int wordCount;
  long rows[kWarpRows];
  const uint32_t* maskRows[kWarpRows];  // kWide
  const uint8_t* from[kWarpRows];  // the row's first value, rounded down to 16 bytes of the tensor
  uint32_t room[kWarpRows];        // bytes from there to the end of the tensor
  uint32_t at[kWarpRows];          // values from there to the segment behind the one on its way
  uint32_t masks[kWarpRows];       // this lane's word of that segment
  Word words[kWarpRows];           // and of the one on its way
  float scales[kWarpRows];

  SPEXPAND_MEMBER RowReader(const Stack& of, RowStage<kType>& to, long row, long last)
      : stack(of), stage(to), wordCount(static_cast<int>(wordsPerRow(of))) {
    const long bytes = (stack.valueCount * kBits<kType> + 7) / 8;
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      // The last warp of an odd number of rows reads one twice.
      rows[r] = row + r < last ? row + r : last;
      maskRows[r] = reinterpret_cast<const uint32_t*>(stack.mask + rows[r] * stack.maskBytes) + laneOf();
      const long begin = 1 + static_cast<long>(stack.rowOffsets[rows[r]]);
      const long rounded = begin * kBits<kType> / 8 & ~15L;
      from[r] = static_cast<const uint8_t*>(stack.values) + rounded;
      room[r] = static_cast<uint32_t>(bytes - rounded < INT32_MAX ? bytes - rounded : INT32_MAX);
      at[r] = static_cast<uint32_t>(begin - rounded * 8 / kBits<kType>);
    }
    loadMasks(0);
  }

  SPEXPAND_MEMBER void loadMasks(int segment) {
    const int word = segment * kWarp + laneOf();
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      masks[r] = 0;
      if (word >= wordCount) continue;
      if constexpr (kWide) masks[r] = maskRows[r][segment * kWarp];
      else masks[r] = maskWord(stack, rows[r], word);
    }
  }

  /** Sends the values of a segment on their way, and asks for the mask of the next one. */
  SPEXPAND_MEMBER void fetch(int segment) {
    const int lane = laneOf();
    static_assert(kWarpRows == 2, "two numbers up to 1024 are added up in one word");
    uint32_t upTo = static_cast<uint32_t>(__popc(masks[0]) | __popc(masks[1]) << 16);
    SPEXPAND_UNROLL
    for (int step = 1; step < kWarp; step *= 2) {
      const uint32_t before = __shfl_up_sync(kAllLanes, upTo, step);
      if (lane >= step) upTo += before;
    }
    const uint32_t total = __shfl_sync(kAllLanes, upTo, kWarp - 1);
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      const uint32_t end = at[r] + (total >> 16 * r & 0xffff);
      const uint32_t first = at[r] * kBits<kType> / 8 & ~15u;
      copy(stage.values[segment & 1][r], r, first, (end * kBits<kType> + 7) / 8);
      const uint32_t before = (upTo >> 16 * r & 0xffff) - static_cast<uint32_t>(__popc(masks[r]));
      words[r] = {masks[r], at[r] - first * 8 / kBits<kType> + before};
      at[r] = end;
      if constexpr (kIsInteger<kType>) {
        const int word = segment * kWarp + lane;
        scales[r] = word < wordCount ? scaleAt(stack, rows[r], word) : 0;
      }
    }
    loadMasks(segment + 1);
  }

  /** Bytes [first, end) of the row; `first` is a multiple of 16. */
  SPEXPAND_MEMBER void copy(uint8_t* to, int r, uint32_t first, uint32_t end) {
    SPEXPAND_UNROLL_BY(1)
    for (uint32_t b = first + static_cast<uint32_t>(laneOf()) * 16; b < end; b += kWarp * 16) {
      if (kWide && b + 16 <= room[r]) {
        copy16(to + (b - first), from[r] + b, 16);
      } else {
        SPEXPAND_UNROLL_BY(1)
        for (uint32_t i = b; i < b + 16 && i < end; i++) to[i - first] = from[r][i];
      }
    }
  }

  SPEXPAND_MEMBER void publish() {
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      stage.words[r][laneOf()] = words[r];
      if constexpr (kIsInteger<kType>) stage.scales[r][laneOf()] = scales[r];
    }
  }

  /**
   * This lane's inputs 128 · step + 4 · lane + j of a segment. A weight whose bit j is 0 is anything; integers come
   * without their scale.
   */
  SPEXPAND_MEMBER void decode(Decoded& out, int segment, int step) {
    const int lane = laneOf();
    const int shift = lane % 8 * kLaneInputs;
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      const Word word = stage.words[r][step * kLaneInputs + lane / 8];
      const uint32_t bits = word.bits >> shift;
      const uint32_t first = word.at + static_cast<uint32_t>(__popc(word.bits & ((1u << shift) - 1)));
      out.bits[r] = bits;
      const uint8_t* values = stage.values[segment & 1][r];
      if constexpr (kIsInteger<kType>) {
        const uint32_t* window = reinterpret_cast<const uint32_t*>(values) + first * kBits<kType> / 32;
        uint32_t next = __funnelshift_r(window[0], window[1], first * kBits<kType> % 32);
        SPEXPAND_UNROLL
        for (int j = 0; j < kLaneInputs; j++) {
          out.weights[r][j] = integerOf<kType>(next);
          if (bits >> j & 1) next >>= kBits<kType>;
        }
      } else {
        uint16_t halves[kLaneInputs];
        loadKept(halves, reinterpret_cast<const uint16_t*>(values) + first, bits);
        SPEXPAND_UNROLL
        for (int j = 0; j < kLaneInputs; j++)
          out.weights[r][j] = kType == ValueType::f16 ? f16At(halves, j) : bf16At(halves, j);
      }
    }
  }

  SPEXPAND_MEMBER float scaleOf(int r, int step) const {
    return stage.scales[r][step * kLaneInputs + laneOf() / 8];
  }
};

/** Four neighbouring inputs of a token, 0 behind the last. kWide: K is a multiple of 4, and x aligned to 16. */
template <bool kHalf, bool kWide>
SPEXPAND_DEVICE void loadInputs(float (&x)[kLaneInputs], const uint8_t* token, unsigned k, unsigned inputs) {
  if constexpr (kWide && kHalf) {
    Pair<uint32_t> two = {0, 0};
    if (k < inputs) two = *reinterpret_cast<const Pair<uint32_t>*>(token + k * 2);
    x[0] = lowHalf(two.a), x[1] = lowHalf(two.a >> 16), x[2] = lowHalf(two.b), x[3] = lowHalf(two.b >> 16);
  } else if constexpr (kWide) {
    Quad<float> four = {0, 0, 0, 0};
    if (k < inputs) four = *reinterpret_cast<const Quad<float>*>(token + k * 4);
    x[0] = four.a, x[1] = four.b, x[2] = four.c, x[3] = four.d;
  } else {
    SPEXPAND_UNROLL
    for (unsigned j = 0; j < kLaneInputs; j++) x[j] = k + j < inputs ? inputAt<kHalf>(token, k + j) : 0;
  }
}

/** Steps whose inputs are loaded together. */
constexpr int kSteps = 4;
constexpr int kStepInputs = kWarp * kLaneInputs;

/** sums[r] += weights · inputs of kSteps steps of one token. */
template <ValueType kType, bool kHalf, bool kWide>
SPEXPAND_DEVICE void addToken(RowReader<kType, kWide>& reader, const uint8_t* token, int segment, int step, unsigned k,
                              float (&sums)[kWarpRows][1]) {
  float x[kSteps][kLaneInputs];
  const auto inputs = static_cast<unsigned>(reader.stack.inputs);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) loadInputs<kHalf, kWide>(x[s], token, k + s * kStepInputs, inputs);
  // One step ahead of the sums: loads of shared memory take long.
  Decoded decoded[2];
  reader.decode(decoded[0], segment, step);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) {
    if (s + 1 < kSteps) reader.decode(decoded[(s + 1) & 1], segment, step + s + 1);
    const Decoded& now = decoded[s & 1];
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      float part = kIsInteger<kType> ? 0 : sums[r][0];
      SPEXPAND_UNROLL
      for (int j = 0; j < kLaneInputs; j++)
        if (now.bits[r] >> j & 1) part += now.weights[r][j] * x[s][j];
      if constexpr (kIsInteger<kType>) sums[r][0] += reader.scaleOf(r, step + s) * part;
      else sums[r][0] = part;
    }
  }
}

/** The same of a few tokens, those whose bit is set in `mine`. */
template <ValueType kType, bool kHalf, bool kWide, int kTokens>
SPEXPAND_DEVICE void addTokens(RowReader<kType, kWide>& reader, const uint8_t* tokens, int segment, int step,
                               unsigned k, unsigned mine, float (&sums)[kWarpRows][kTokens]) {
  const auto inputs = static_cast<unsigned>(reader.stack.inputs);
  SPEXPAND_UNROLL
  for (int s = 0; s < kSteps; s++) {
    Decoded now;
    reader.decode(now, segment, step + s);
    SPEXPAND_UNROLL
    for (int r = 0; r < kWarpRows; r++) {
      SPEXPAND_UNROLL
      for (int j = 0; j < kLaneInputs; j++) {
        if constexpr (kIsInteger<kType>) now.weights[r][j] *= reader.scaleOf(r, step + s);
        now.weights[r][j] = now.bits[r] >> j & 1 ? now.weights[r][j] : 0;
      }
    }
    SPEXPAND_UNROLL
    for (int t = 0; t < kTokens; t++) {
      if (!(mine >> t & 1)) continue;
      float x[kLaneInputs];
      loadInputs<kHalf, kWide>(x, tokens + t * reader.stack.inputs * (kHalf ? 2 : 4), k + s * kStepInputs, inputs);
      SPEXPAND_UNROLL
      for (int r = 0; r < kWarpRows; r++) {
        SPEXPAND_UNROLL
        for (int j = 0; j < kLaneInputs; j++) sums[r][t] += now.weights[r][j] * x[j];
      }
    }
  }
}

/**
 * Grid (⌈N / (kRowWarps · kWarpRows)⌉, tokens). The first token of an expert computes for all tokens of that expert, so
 * that a row is read once; the warps of the others end at once. kTokens: 1, or kMostRowTokens for up to as many.
 */
template <ValueType kType, bool kHalf, int kTokens, bool kWide>
SPEXPAND_KERNEL_FOR(kRowWarps * kWarp, 6) sparseRows(const Stack stack, const Product product) {
  __shared__ RowStage<kType> stages[kRowWarps];
  const long n = (static_cast<long>(blockIdx.x) * kRowWarps + warpOf()) * kWarpRows;
  const int lane = laneOf();
  const int first = static_cast<int>(blockIdx.y);
  if (n >= stack.outputs) return;
  const int64_t e = product.expert[first];
  if (e < 0 || e >= stack.experts) {
    if (lane < kWarpRows && n + lane < stack.outputs)
      storeOutput<kHalf>(product.y, first * stack.outputs + n + lane, notANumber());
    if (lane == 0 && n == 0) complain(product.notice, first, e);
    return;
  }
  unsigned mine = 0;
  SPEXPAND_UNROLL
  for (int t = 0; t < kTokens; t++)
    if (t < product.tokens && product.expert[t] == e) mine |= 1u << t;
  if (mine & ((1u << first) - 1)) return;

  const long last = (e + 1) * stack.outputs - 1;
  RowReader<kType, kWide> reader(stack, stages[warpOf()], e * stack.outputs + n, last);
  const auto* x = static_cast<const uint8_t*>(product.x);
  const int inputs = static_cast<int>(stack.inputs);
  const int segments = (inputs + kSegment - 1) / kSegment;
  float sums[kWarpRows][kTokens] = {};
  reader.fetch(0);
  commitCopies();
  SPEXPAND_UNROLL_BY(1)
  for (int segment = 0; segment < segments; segment++) {
    reader.publish();
    if (segment + 1 < segments) reader.fetch(segment + 1);
    commitCopies();
    waitCopies<1>();
    __syncwarp();
    SPEXPAND_UNROLL_BY(1)
    for (int step = 0; step < kSegment / (kWarp * kLaneInputs); step += kSteps) {
      const unsigned k = static_cast<unsigned>(segment * kSegment + step * kStepInputs);
      if (k >= static_cast<unsigned>(inputs)) break;
      const unsigned mineFrom = k + static_cast<unsigned>(lane * kLaneInputs);
      if constexpr (kTokens == 1) addToken<kType, kHalf, kWide>(reader, x, segment, step, mineFrom, sums);
      else addTokens<kType, kHalf, kWide, kTokens>(reader, x, segment, step, mineFrom, mine, sums);
    }
    __syncwarp();
  }
  SPEXPAND_UNROLL
  for (int r = 0; r < kWarpRows; r++) {
    SPEXPAND_UNROLL
    for (int t = 0; t < kTokens; t++) {
      if (kTokens > 1 && !(mine >> t & 1)) continue;
      const float sum = warpSum(sums[r][t]);
      const long token = kTokens > 1 ? t : first;
      if (lane == 0 && n + r < stack.outputs) storeOutput<kHalf>(product.y, token * stack.outputs + n + r, sum);
    }
  }
}

}  // namespace cuda
}  // namespace spexpand
