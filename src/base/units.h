// Text for bytes and rates, both ways.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvpool/result.h"

namespace kvpool {

// "4096", "64KiB", "2 GiB", "800MB" (10^6). kInvalid with a sentence naming the forms.
Result<std::uint64_t> ParseBytes(std::string_view text);

// "2 GiB" when exact in a binary unit, else "1.50 GiB".
std::string FormatBytes(std::uint64_t bytes);

// "800 MB/s", "3.00 GB/s": decimal, as drives are sold.
std::string FormatRate(double bytes_per_s);

}  // namespace kvpool
