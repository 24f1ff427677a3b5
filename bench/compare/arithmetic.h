// Arithmetic: what a method should reach on ideal devices. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "bench/compare/contender.h"

namespace kvpool::bench {

// Every how many blocks the serial caches keep one in memory: four, or more under a tighter limit.
// The first of each run is the one in memory, so that a short prefix favours them. 0: none is in
// memory (no memory device); 1: all (no file device).
std::uint64_t SerialMemoryPeriod(const Setting& setting);

// Of the leading `blocks`, how many the serial caches have in memory.
std::uint64_t SerialMemoryBlocks(const Setting& setting, std::uint64_t blocks);

double MemoryBytesPerS(const Setting& setting);  // all nodes together
double FastestFileBytesPerS(const Setting& setting);
double SumBytesPerS(const Setting& setting);

// Read bandwidth of a retrieval of `blocks` by `method`: a pool's, a serial cache's, fio's on all
// drives ("fio-..."), or that of a path to the fastest drive alone; absent for fio beside files.
std::optional<double> ExpectedBytesPerS(std::string_view method, const Setting& setting,
                                        std::uint64_t blocks);

}  // namespace kvpool::bench
