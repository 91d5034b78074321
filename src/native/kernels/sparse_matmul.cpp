#include "kernels/sparse_matmul.h"

#include <cstring>

#include "kernels/groups.h"
#include "kernels/half.h"
#include "kernels/prepare.h"
#include "kernels/scratch.h"

namespace spexpand {

namespace {

// Work per call of the loop body: enough to hide its start, little enough to share evenly.
constexpr long kLeastTaskBytes = 1 << 13;
constexpr long kMostTaskBytes = 1 << 18;
constexpr long kTasksWanted = 32;
constexpr long kPanelTasksWanted = 128;

/** Rows of one expert for some of its tokens. */
struct Task {
  long firstToken;  // in Groups::order
  long tokens;
  long row;  // in the stack
  long rows;
  long panelGroup;  // in Groups, or kByRows
};

constexpr long kByRows = -1;

long bytesPerValue2(ValueType type) { return type == ValueType::int8 ? 2 : type == ValueType::int4 ? 1 : 4; }

/**
 * Rows of a task, whole sixteens: shares of equal size by the bytes of the whole expert. Row by row they differ, but to
 * look at the offsets of every row beforehand costs more than that.
 */
long rowsOfTask(const Stack& stack, long begin) {
  const long values = stack.rowEnd(begin + stack.outputs - 1) - stack.rowBegin(begin);
  const long bytes = stack.outputs * (stack.maskBytes + stack.groups * 2) + values * bytesPerValue2(stack.type) / 2;
  const long share = bytes / kTasksWanted;
  const long wanted = share < kLeastTaskBytes ? kLeastTaskBytes : share > kMostTaskBytes ? kMostTaskBytes : share;
  const long rows = (stack.outputs * wanted / bytes + 15) / 16 * 16;
  return rows < 16 ? 16 : rows;
}

/** Rows of a task of panels, whole panels; `experts` of them share the work. */
long rowsOfPanelTask(const Stack& stack, long experts) {
  const long panels = (stack.outputs + kPanelRows - 1) / kPanelRows * experts / kPanelTasksWanted;
  const long rows = panels * kPanelRows;
  return rows < kPanelRows ? kPanelRows : rows < stack.outputs ? rows : stack.outputs;
}

/** Appends to `tasks`, or only counts when it is null. */
long makeTasks(const Stack& stack, const Groups& groups, long mostByRows, Task* tasks) {
  long count = 0;
  const auto add = [&](const Task& task) {
    if (tasks) tasks[count] = task;
    count++;
  };
  for (long g = 0; g < groups.count; g++) {
    const long first = groups.begin[g];
    const long tokens = groups.begin[g + 1] - first;
    const long begin = groups.expert[g] * stack.outputs;
    const long end = begin + stack.outputs;
    if (tokens > mostByRows) {
      const long rows = rowsOfPanelTask(stack, groups.count);
      for (long row = begin; row < end; row += rows) add({first, tokens, row, row + rows < end ? rows : end - row, g});
      continue;
    }
    const long rows = rowsOfTask(stack, begin);
    for (long token = 0; token < tokens; token += kFewTokens) {
      const long few = tokens - token < kFewTokens ? tokens - token : kFewTokens;
      for (long row = begin; row < end; row += rows)
        add({first + token, few, row, row + rows < end ? rows : end - row, kByRows});
    }
  }
  return count;
}

struct Run {
  const Isa& isa;
  const SparseMatMul& product;
  const Groups& groups;
  const Prepared& prepared;
  float* y;
  bool isInteger;
};

bool byRows(const Run& run, const Task& task) {
  const Stack& stack = *run.product.stack;
  const long padded = run.prepared.inputs.padded;
  void* scratch = threadScratch<10>(static_cast<size_t>(rowScratchBytes(padded) + padded * 4));
  if (!scratch) return false;
  const int64_t* tokens = run.groups.order + task.firstToken;
  const long column = task.row % stack.outputs;
  if (!run.isInteger || run.product.roundsInputs) {
    const RowsTask rows{&stack, task.row, task.rows, &run.prepared.inputs, tokens, task.tokens, run.y, stack.outputs,
                        column, scratch};
    if (run.isInteger) run.isa.integerRows(rows);
    else run.isa.halfRows(rows);
    return true;
  }
  auto* weights = static_cast<float*>(scratch);
  for (long r = 0; r < task.rows; r++) {
    run.isa.decodeRow(stack, task.row + r, weights, padded, weights + padded);
    for (long t = 0; t < task.tokens; t++)
      run.y[tokens[t] * stack.outputs + column + r] =
          run.isa.dot(DenseType::f32, weights, run.prepared.inputs.f32 + tokens[t] * padded, padded);
  }
  return true;
}

bool byPanel(const Run& run, const Task& task) {
  const Stack& stack = *run.product.stack;
  const long padded = run.prepared.inputs.padded;
  void* scratch = threadScratch<11>(static_cast<size_t>(panelScratchBytes(padded)));
  if (!scratch) return false;
  const uint8_t* tiles = run.prepared.tiles + run.prepared.firstTile[task.panelGroup] * padded * run.isa.tileBytes;
  run.isa.panel({&stack, task.row, task.rows, padded, tiles, run.groups.order + task.firstToken, task.tokens, run.y,
                 stack.outputs, task.row % stack.outputs, scratch});
  return true;
}

void narrow(const float* from, uint16_t* to, long count) {
  for (long i = 0; i < count; i++) to[i] = floatToF16(from[i]);
}

}  // namespace

bool checkExperts(const int64_t* expert, long tokens, long experts, Error& error) {
  for (long t = 0; t < tokens; t++)
    if (expert[t] < 0 || expert[t] >= experts)
      return fail(error, "expert of token %ld is %lld, expected 0 to %ld", t, static_cast<long long>(expert[t]),
                  experts - 1);
  return true;
}

bool sparseMatMul(const Isa& isa, const Parallel& parallel, const SparseMatMul& product, Error& error) {
  const Stack& stack = *product.stack;
  if (product.tokens == 0) return true;
  const auto outOfMemory = [&] { return fail(error, "Out of memory for %ld tokens", product.tokens); };
  Groups groups;
  if (!groupByExpert(product.expert, product.tokens, stack.experts, groups)) return outOfMemory();
  const bool isInteger = stack.type == ValueType::int8 || stack.type == ValueType::int4;
  Prepared prepared;
  const long mostByRows = (isInteger ? isa.panelTokensInteger : isa.panelTokens) - 1;
  const Preparation preparation{&isa, &product, &groups, &parallel, mostByRows};
  if (!prepareInputs(preparation, prepared)) return outOfMemory();
  float* y = static_cast<float*>(product.y);
  const auto yBytes = static_cast<size_t>(product.tokens * stack.outputs) * 4;
  if (product.isHalf) y = static_cast<float*>(threadScratch<2>(yBytes));
  const long count = makeTasks(stack, groups, mostByRows, nullptr);
  auto* tasks = static_cast<Task*>(threadScratch<3>(static_cast<size_t>(count) * sizeof(Task)));
  if (!y || !tasks) return outOfMemory();
  makeTasks(stack, groups, mostByRows, tasks);

  const Run run{isa, product, groups, prepared, y, isInteger};
  bool isComplete = true;
  parallelFor(parallel, static_cast<size_t>(count), [&](size_t i) {
    const bool isDone = tasks[i].panelGroup == kByRows ? byRows(run, tasks[i]) : byPanel(run, tasks[i]);
    if (!isDone) __atomic_store_n(&isComplete, false, __ATOMIC_RELAXED);
  });
  if (!isComplete) return outOfMemory();
  if (product.isHalf) narrow(y, static_cast<uint16_t*>(product.y), product.tokens * stack.outputs);
  return true;
}

}  // namespace spexpand
