// What the crash test stores: names, sizes and bytes that follow from numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kvpool/key.h"

namespace kvpool::crash {

inline constexpr std::uint32_t kBlocks = 8;  // of a context

// A context belongs to one worker; everything about it follows from its number.
struct ContextId {
  std::uint32_t worker = 0;
  std::uint32_t number = 0;
};

std::string KeyOf(ContextId context, std::uint32_t block);
// False: no key of ours.
bool ParseKey(const std::string& key, ContextId& context, std::uint32_t& block);

std::uint64_t BlockBytes(ContextId context);
std::uint32_t SpaceOf(ContextId context);  // 0 or 1, an index of Specs()
std::vector<SpaceSpec> Specs();

// The bytes of a block's `version`-th content. They name key and version in front, the rest
// follows from both.
void FillContent(const std::string& key, std::uint64_t version, std::span<std::byte> bytes);
// The version whose content this is, whole; 0: of none, or another key's.
std::uint64_t VersionOf(const std::string& key, std::span<const std::byte> bytes);

}  // namespace kvpool::crash
