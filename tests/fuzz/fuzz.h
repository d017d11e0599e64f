/*
 * What every fuzz target has: LLVMFuzzerTestOneInput(), which returns 0 for
 * all inputs, and the verdict on the last of them, by which the replay driver
 * tells whether an input was refused. A target whose format has checksums
 * takes a first byte in front of the file: bit 0 asks it to make them match,
 * which no fuzzer finds out by itself.
 *
 *   all in refuse/NAME          has to be refused
 *   good... in corpus/NAME      has to be accepted
 *   all else in corpus/NAME     has to end, in either way
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Defined by the target: 0, or the negative errno of the refusal. */
extern int fuzz_last_result;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
