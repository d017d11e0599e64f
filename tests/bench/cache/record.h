/*
 * A trace of real restores: three images, published; VMs that are restored
 * from them by a pagerd that records, each touching most of its image's first
 * part in an order of its own.
 */
#pragma once

#include "tests/bench/bench.h"
#include "tests/bench/cache/trace.h"

/* 0 or a negative errno with err_text(). */
int record_restores(const struct bench_options *options,
		    struct trace *ret_trace);
