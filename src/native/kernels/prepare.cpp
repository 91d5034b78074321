#include "kernels/prepare.h"

#include <cstring>

#include "kernels/half.h"
#include "kernels/rounded.h"
#include "kernels/scratch.h"

namespace spexpand {

namespace {

void widenToken(const SparseMatMul& product, long token, float* out, long padded) {
  const long inputs = product.stack->inputs;
  if (product.isHalf) {
    const uint16_t* x = static_cast<const uint16_t*>(product.x) + token * inputs;
    for (long k = 0; k < inputs; k++) out[k] = f16ToFloat(x[k]);
  } else {
    std::memcpy(out, static_cast<const float*>(product.x) + token * inputs, static_cast<size_t>(inputs) * 4);
  }
  std::memset(out + inputs, 0, static_cast<size_t>(padded - inputs) * 4);
}

/** Of every 32: the even ones, then the odd ones. */
void splitToken(float* x, long padded) {
  float chunk[32];
  for (long k = 0; k < padded; k += 32) {
    std::memcpy(chunk, x + k, sizeof chunk);
    for (long i = 0; i < 16; i++) {
      x[k + i] = chunk[2 * i];
      x[k + 16 + i] = chunk[2 * i + 1];
    }
  }
}

/** Which forms are wanted by some group. */
bool wantsRows(const Preparation& preparation) {
  const Groups& groups = *preparation.groups;
  for (long g = 0; g < groups.count; g++)
    if (groups.begin[g + 1] - groups.begin[g] <= preparation.mostByRows) return true;
  return false;
}

struct Tile {
  long first;  // in Groups::order
  long tokens;
};

/** Tiles of the groups that go to panels; none is shared by two experts. */
long listTiles(const Preparation& preparation, long* firstTile, Tile* tiles) {
  const Groups& groups = *preparation.groups;
  long count = 0;
  for (long g = 0; g < groups.count; g++) {
    const long end = groups.begin[g + 1];
    if (end - groups.begin[g] <= preparation.mostByRows) continue;
    if (firstTile) firstTile[g] = count;
    for (long first = groups.begin[g]; first < end; first += kTileTokens, count++)
      if (tiles) tiles[count] = {first, end - first < kTileTokens ? end - first : kTileTokens};
  }
  return count;
}

bool packTiles(const Preparation& preparation, long padded, Prepared& prepared) {
  const Groups& groups = *preparation.groups;
  const Isa& isa = *preparation.isa;
  const long count = listTiles(preparation, nullptr, nullptr);
  if (count == 0) return true;
  const long tileBytes = padded * isa.tileBytes;
  auto* packed = static_cast<uint8_t*>(threadScratch<4>(static_cast<size_t>(count * tileBytes)));
  auto* tiles = static_cast<Tile*>(threadScratch<6>(static_cast<size_t>(count) * sizeof(Tile) +
                                                    static_cast<size_t>(groups.count) * sizeof(long)));
  if (!packed || !tiles) return false;
  auto* firstTile = reinterpret_cast<long*>(tiles + count);
  listTiles(preparation, firstTile, tiles);
  bool isComplete = true;
  parallelFor(*preparation.parallel, static_cast<size_t>(count), [&](size_t i) {
    auto* x = static_cast<float*>(threadScratch<10>(static_cast<size_t>(kTileTokens * padded * 4)));
    if (!x) return __atomic_store_n(&isComplete, false, __ATOMIC_RELAXED);
    for (long t = 0; t < tiles[i].tokens; t++)
      widenToken(*preparation.product, groups.order[tiles[i].first + t], x + t * padded, padded);
    isa.packTile(x, tiles[i].tokens, padded, packed + static_cast<long>(i) * tileBytes);
  });
  prepared.tiles = packed;
  prepared.firstTile = firstTile;
  return isComplete;
}

bool roundAll(const Preparation& preparation, Inputs& inputs) {
  const SparseMatMul& product = *preparation.product;
  const long padded = inputs.padded;
  const long block = blockInputsOf(product.stack->groupSize);
  const long scales = padded / block;
  const long corrections = padded / stepInputsOf(block) * 16;
  // Corrections first: they are loaded as whole vectors.
  const long perToken = corrections * 4 + padded + scales * 4;
  auto* memory = static_cast<uint8_t*>(threadScratch<5>(static_cast<size_t>(product.tokens * perToken)));
  if (!memory) return false;
  auto* correctionsOut = reinterpret_cast<int32_t*>(memory);
  auto* rounded = reinterpret_cast<int8_t*>(memory + product.tokens * corrections * 4);
  auto* scalesOut = reinterpret_cast<float*>(rounded + product.tokens * padded);
  inputs.rounded = rounded;
  inputs.blockScales = scalesOut;
  inputs.corrections = correctionsOut;
  inputs.blockInputs = block;
  const Rounding rounding{padded, block, offsetOf(product.stack->type)};
  for (long t = 0; t < product.tokens; t++)
    preparation.isa->roundInputs(rounding, inputs.f32 + t * padded, rounded + t * padded, scalesOut + t * scales,
                                 correctionsOut + t * corrections);
  return true;
}

}  // namespace

bool prepareInputs(const Preparation& preparation, Prepared& prepared) {
  const SparseMatMul& product = *preparation.product;
  const Stack& stack = *product.stack;
  const long padded = (stack.inputs + kPad - 1) / kPad * kPad;
  const auto bytes = static_cast<size_t>(product.tokens * padded * 4);
  prepared = {};
  prepared.inputs.padded = padded;
  if (!packTiles(preparation, padded, prepared)) return false;
  if (!wantsRows(preparation)) return true;
  auto* x = static_cast<float*>(threadScratch<1>(bytes));
  if (!x) return false;
  const bool splits = stack.type == ValueType::bf16 && preparation.isa->splitsBf16;
  for (long t = 0; t < product.tokens; t++) {
    widenToken(product, t, x + t * padded, padded);
    if (splits) splitToken(x + t * padded, padded);
  }
  prepared.inputs.f32 = x;
  const bool isInteger = stack.type == ValueType::int8 || stack.type == ValueType::int4;
  return !(isInteger && product.roundsInputs) || roundAll(preparation, prepared.inputs);
}

}  // namespace spexpand
