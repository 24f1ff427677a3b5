// SHA-256 (FIPS 180-4): a chunk's key must not be another's, whoever chose the tokens.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvpool::llama {

using Digest = std::array<std::uint8_t, 32>;

Digest Sha256(std::span<const std::uint8_t> bytes);

}  // namespace kvpool::llama
