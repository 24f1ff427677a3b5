#include "tests/crash/content.h"

#include <array>
#include <cstdio>
#include <cstring>

#include "base/checksum.h"

namespace kvpool::crash {
namespace {

constexpr std::array<std::uint64_t, 3> kSizes{64 * 1024, 200'007, 1024 * 1024};

std::uint64_t Next(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace

std::string KeyOf(ContextId context, std::uint32_t block) {
  return std::to_string(context.worker) + "." + std::to_string(context.number) + "." +
         std::to_string(block);
}

bool ParseKey(const std::string& key, ContextId& context, std::uint32_t& block) {
  return std::sscanf(key.c_str(), "%u.%u.%u", &context.worker, &context.number, &block) == 3;
}

std::uint64_t BlockBytes(ContextId context) { return kSizes[context.number % kSizes.size()]; }

std::uint32_t SpaceOf(ContextId context) { return context.number / kSizes.size() % 2; }

std::vector<SpaceSpec> Specs() {
  return {{.model = "crash", .dtype = "bf16", .layers = 8},
          {.model = "crash", .dtype = "bf16", .rank = "1", .layers = 1}};
}

void FillContent(const std::string& key, std::uint64_t version, std::span<std::byte> bytes) {
  const std::uint64_t digest = Digest(key);
  std::uint64_t state = (digest ^ version * 0x9e3779b97f4a7c15ULL) | 1;
  std::memcpy(bytes.data(), &digest, sizeof digest);
  std::memcpy(bytes.data() + 8, &version, sizeof version);
  for (std::size_t at = 16; at < bytes.size(); at += 8) {
    const std::uint64_t word = Next(state);
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at));
  }
}

std::uint64_t VersionOf(const std::string& key, std::span<const std::byte> bytes) {
  std::uint64_t version = 0;
  std::memcpy(&version, bytes.data() + 8, sizeof version);
  std::vector<std::byte> expected(bytes.size());
  FillContent(key, version, expected);
  return std::memcmp(expected.data(), bytes.data(), bytes.size()) == 0 ? version : 0;
}

}  // namespace kvpool::crash
