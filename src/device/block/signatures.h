// What a drive carries already, by the magic numbers of those who write to raw drives. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace kvpool::device {

// Reads `into.size()` bytes at an offset that is a multiple of 4 KiB; false when that is not
// possible.
using ReadAt = std::function<bool(std::uint64_t offset, std::span<std::byte> into)>;

// "an ext filesystem", "a GPT partition table", ...; several are joined by " and ". Empty: nothing
// known. A drive that cannot be read counts as carrying "unreadable sectors".
std::string FindSignatures(std::uint64_t drive_bytes, const ReadAt& read);

}  // namespace kvpool::device
