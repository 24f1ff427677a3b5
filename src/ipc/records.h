// Spaces and information as records, both ways.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ipc/protocol.h"
#include "kvpool/pool.h"

namespace kvpool::ipc {

void AppendBytes(std::vector<std::byte>& to, std::span<const std::byte> bytes);
// Nothing where `bytes` are not exactly one.
template <class Record>
std::optional<Record> RecordIn(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(Record)) return std::nullopt;
  Record record;
  std::copy(bytes.begin(), bytes.end(), WritableBytesOf(record).begin());
  return record;
}

// Nothing where a text is longer than kMaxSpaceTextBytes.
std::optional<std::vector<std::byte>> EncodeSpace(const SpaceSpec& spec);
std::optional<SpaceSpec> DecodeSpace(std::span<const std::byte> bytes);

std::vector<std::byte> EncodeInfo(const PoolInfo& info);
std::optional<PoolInfo> DecodeInfo(std::span<const std::byte> bytes);

}  // namespace kvpool::ipc
