// Weights of a few rows, 64 inputs at a time, for the tiles: values go through registers into shared memory.
#pragma once

#include "cuda/machine.h"
#include "cuda/weights.h"

namespace spexpand {
namespace cuda {

constexpr int kTileThreads = 256;
constexpr int kTileWarps = kTileThreads / kWarp;
/** Inputs of a stage: two words of a row. */
constexpr int kStage = 2 * kWarp;
/** Elements of a row in shared memory: 8 more than used, so that neighbouring rows lie in other banks. */
constexpr int kStride = kStage + 8;

/**
 * Two neighbouring weights, as halves of a word: the first values of `window` where the two bits are set, else 0.
 * Integers come as bytes; their halves are bytes too.
 */
template <bool kBytes>
SPEXPAND_DEVICE uint32_t place(uint32_t window, uint32_t bits) {
  // Which bytes go where, for 0, 1, 2 and 3; bytes from 4 on are 0.
  constexpr uint64_t kTable = kBytes ? 0x4140404444404444ull : 0x3210104444104444ull;
  return __byte_perm(window, 0, static_cast<uint32_t>(kTable >> bits * 16));
}

/**
 * A warp decodes kRows / kTileWarps rows, two at a time: half a warp per row, 4 inputs per lane. fetch() asks for the
 * values of a stage, store() waits for them; the masks of the stage after it are on their way by then.
 * kWide: K is a multiple of 64 and the mask is aligned to 8.
 */
template <ValueType kType, int kRows, bool kWide>
class Decoder {
 public:
  SPEXPAND_MEMBER Decoder(const Stack& stack, long row, int rows) : stack_(stack), row_(row) {
    // An even number: two int4 values share a byte.
    const long base = (1 + static_cast<long>(stack.rowOffsets[row])) & ~1L;
    values_ = static_cast<const uint8_t*>(stack.values) + base * kBits<kType> / 8;
    mask_ = stack.mask + row * stack.maskBytes;
    // Behind the begin of the last row nothing is asked for in advance.
    last_ = static_cast<uint32_t>(1 + static_cast<long>(stack.rowOffsets[row + rows - 1]) - base);
    SPEXPAND_UNROLL
    for (int i = 0; i < kTimes; i++) {
      // Rows behind the last one are decoded as it is, and not stored by anyone.
      const int r = rowOf(i) < rows ? rowOf(i) : rows - 1;
      at_[i] = static_cast<uint32_t>(1 + static_cast<long>(stack.rowOffsets[row + r]) - base);
      rows_[i] = static_cast<uint32_t>(kWide ? r * stack.maskBytes : r);
    }
    loadMasks(0);
  }

  SPEXPAND_MEMBER void fetch(long stage) {
    const int lane = laneOf() % 16;
    const int shift = lane % 8 * 4;
    const uint32_t below = (1u << shift) - 1;
    SPEXPAND_UNROLL
    for (int i = 0; i < kTimes; i++) {
      const int inFirst = __popc(masks_[i].a);
      const uint32_t word = lane < 8 ? masks_[i].a : masks_[i].b;
      const uint32_t from = at_[i] + static_cast<uint32_t>(__popc(word & below) + (lane < 8 ? 0 : inFirst));
      at_[i] += static_cast<uint32_t>(inFirst + __popc(masks_[i].b));
      const uint32_t bits = word >> shift & 15;
      held_[i] = bits | from << 4;
      load(raw_[i], from, __popc(bits));
    }
    ahead();
    loadMasks(stage + 1);
  }

  SPEXPAND_MEMBER void store(uint16_t (&to)[kRows][kStride]) const {
    SPEXPAND_UNROLL
    for (int i = 0; i < kTimes; i++) {
      const uint32_t bits = held_[i];
      const uint32_t first = bits & 3;
      const uint32_t second = bits >> 2 & 3;
      const uint32_t kept = first - (first >> 1);
      Pair<uint32_t> four;
      if constexpr (kIsInteger<kType>) {
        const uint32_t bytes = bytesOf(raw_[i], bits >> 4 & 1);
        four.a = halvesOfIntegers<kBits<kType>>(place<true>(bytes, first));
        four.b = halvesOfIntegers<kBits<kType>>(place<true>(bytes >> 8 * kept, second));
      } else {
        const uint32_t low = raw_[i][0] | raw_[i][1] << 16;
        const uint32_t high = raw_[i][2] | raw_[i][3] << 16;
        const uint64_t all = static_cast<uint64_t>(high) << 32 | low;
        four.a = place<false>(low, first);
        four.b = place<false>(static_cast<uint32_t>(all >> 16 * kept), second);
      }
      *reinterpret_cast<Pair<uint32_t>*>(&to[rowOf(i)][laneOf() % 16 * 4]) = four;
    }
  }

 private:
  static constexpr int kTimes = kRows / kTileWarps / 2;
  /** Values asked for in advance, behind those of the stage. */
  static constexpr uint32_t kAhead = 256 * 8 / kBits<kType>;

  SPEXPAND_MEMBER int rowOf(int i) const { return (warpOf() * kTimes + i) * 2 + laneOf() / 16; }

  SPEXPAND_MEMBER void loadMasks(long stage) {
    if (kWide && stage * kStage >= stack_.inputs) return;
    SPEXPAND_UNROLL
    for (int i = 0; i < kTimes; i++) {
      if constexpr (kWide) {
        masks_[i] = *reinterpret_cast<const Pair<uint32_t>*>(mask_ + (rows_[i] + static_cast<uint32_t>(stage) * 8));
      } else {
        const long words = wordsPerRow(stack_);
        masks_[i].a = stage * 2 < words ? maskWord(stack_, row_ + rows_[i], stage * 2) : 0;
        masks_[i].b = stage * 2 + 1 < words ? maskWord(stack_, row_ + rows_[i], stage * 2 + 1) : 0;
      }
    }
  }

  /** `kept` values from `from` on: each in a word of its own, or (int4) the bytes in which they are. */
  SPEXPAND_MEMBER void load(uint32_t (&raw)[4], uint32_t from, int kept) const {
    SPEXPAND_UNROLL
    for (int j = 0; j < 4; j++) raw[j] = 0;
    if constexpr (kType == ValueType::int4) {
      const uint8_t* bytes = values_ + (from >> 1);
      const int nibbles = kept ? kept + static_cast<int>(from & 1) : 0;
      SPEXPAND_UNROLL
      for (int j = 0; j < 3; j++)
        if (nibbles > 2 * j) raw[j] = bytes[j];
    } else if constexpr (kType == ValueType::int8) {
      const uint8_t* bytes = values_ + from;
      SPEXPAND_UNROLL
      for (int j = 0; j < 4; j++)
        if (kept > j) raw[j] = bytes[j];
    } else {
      const uint16_t* halves = reinterpret_cast<const uint16_t*>(values_) + from;
      SPEXPAND_UNROLL
      for (int j = 0; j < 4; j++)
        if (kept > j) raw[j] = halves[j];
    }
  }

  /** Four integers, in a byte each. */
  static SPEXPAND_MEMBER uint32_t bytesOf(const uint32_t (&raw)[4], uint32_t isOdd) {
    const uint32_t word = raw[0] | raw[1] << 8 | raw[2] << 16 | raw[3] << 24;
    if constexpr (kType == ValueType::int8) return word;
    const uint32_t nibbles = word >> 4 * isOdd & 0xffff;
    const uint32_t pairs = (nibbles | nibbles << 8) & 0x00ff00ff;
    return (pairs | pairs << 4) & 0x0f0f0f0f;
  }

  /** The rows' values some stages on come to the L2 cache: a lane for each row. */
  SPEXPAND_MEMBER void ahead() const {
    const int lane = laneOf() % 16;
    uint32_t at = at_[0];
    SPEXPAND_UNROLL
    for (int i = 1; i < kTimes; i++) at = lane == i ? at_[i] : at;
    if (lane < kTimes && at + kAhead < last_)
      prefetch(values_ + static_cast<size_t>(at + kAhead) * kBits<kType> / 8);
  }

  const Stack& stack_;
  const long row_;
  const uint8_t* values_;
  uint32_t last_;
  const uint8_t* mask_;
  uint32_t rows_[kTimes];  // kWide: the offset of the row's mask
  uint32_t at_[kTimes];
  Pair<uint32_t> masks_[kTimes];
  uint32_t raw_[kTimes][4];
  uint32_t held_[kTimes];  // 4 bits of the mask, then the number of the first value
};

}  // namespace cuda
}  // namespace spexpand
