// Label: what the first page of a drive says about it. Format: docs/formats/label.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "kvpool/result.h"

namespace kvpool::device {

inline constexpr std::size_t kLabelBytes = 4096;
inline constexpr std::uint64_t kLabelAreaBytes =
    kSlabBytes;  // what lies before offset 0 of a device

struct Label {
  std::uint64_t pool_id = 0;    // of every device of the pool; > 0
  std::uint64_t device_id = 0;  // of this device alone; > 0
  std::uint32_t index = 0;      // position in the pool's list of devices
  std::uint32_t count = 1;      // length of that list
  std::uint64_t capacity_bytes = 0;
  std::int64_t created_unix_s = 0;
  std::string name;  // of the device in the pool file, at most kMaxNameBytes; empty: not told

  friend bool operator==(const Label&, const Label&) = default;
};

void EncodeLabel(const Label& label, std::span<std::byte, kLabelBytes> page);

// kNotFound (no label), kUnsupported (another version), kCorrupt. `path` is for the sentence.
Result<Label> DecodeLabel(std::span<const std::byte, kLabelBytes> page, std::string_view path);

// What a label has to agree with when a device is opened.
struct LabelExpectation {
  std::uint64_t pool_id = 0;         // 0: any
  std::uint64_t device_id = 0;       // 0: any
  std::uint64_t capacity_bytes = 0;  // as configured; 0: any
  std::uint64_t drive_bytes = 0;     // what the drive holds now, the label's area included
};
// kInvalid: another pool's, another device's, another capacity, or the drive shrank.
Result<void> CheckLabel(const Label& label, const LabelExpectation& expected,
                        std::string_view path);

}  // namespace kvpool::device
