// Two rows of a stack on their way to a warp: values to shared memory, segments of 1024 inputs, one ahead.
#pragma once

#include "cuda/machine.h"
#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

constexpr int kWarpRows = 2;
/** Inputs of a segment: a mask word per lane. */
constexpr int kSegment = kWarp * kWarp;
constexpr int kLaneInputs = 4;

/** What a lane looks up for its inputs. */
struct alignas(8) Word {
  uint32_t bits;
  uint32_t at;  // of its first value, in elements of a stage's values
};

/** Of a warp. Values: a segment without zeros, begun and ended on multiples of 16 bytes, and a word more to read. */
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

/** Two rows on their way from the stack to a warp, segment by segment. kWide: mask and values are aligned to 16. */
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

}  // namespace cuda
}  // namespace spexpand
