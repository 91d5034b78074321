// The door from plain C++ to the device: what to compute, on which stream. Nothing here waits for the device, except
// verifyStack and makeNotice, which run when something is seen for the first time.
#pragma once

#include "cuda/product.h"
#include "kernels/isa.h"
#include "kernels/stack.h"

namespace spexpand {
namespace cuda {

/** Host memory of one word that the device writes (device.h, complain). */
struct Notice {
  unsigned long long* host = nullptr;
  unsigned long long* device = nullptr;
};

/** False and an error, one line, where CUDA cannot run here: no driver, none new enough, no GPU. */
bool checkDevice(Error& error);

bool makeNotice(Notice& notice, Error& error);
void freeNotice(Notice& notice);
/**
 * What runs before this one complained of, if anything: false and "expert 3 of an earlier run is 9 …". Clears it.
 * `name`: of the input; `wanted`: what its elements should be; `most`: the largest of them.
 */
bool readNotice(const Notice& notice, const char* name, const char* wanted, long most, Error& error);

/**
 * Checks the content of the whole stack and waits for the result. `stored`: elements of the values tensor. The stack's
 * valueCount is not used.
 */
bool verifyStack(const Stack& stack, long stored, void* stream, Error& error);

/** The stack has been verified. x and y are f16 where isHalf. At most 2^31 − 1 tokens. */
bool runProduct(const Stack& stack, const Product& product, bool isHalf, void* stream, Error& error);

/** `h` and `seen` are made here. */
bool runNeurons(Neurons ffn, DenseType type, bool isHalf, void* stream, Error& error);

}  // namespace cuda
}  // namespace spexpand
