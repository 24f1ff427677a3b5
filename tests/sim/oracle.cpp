#include "tests/sim/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace kvpool::sim {
namespace {

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;

// Calls visit(address, bytes, position) for runs of segments that make up `bytes`.
template <class Visit>
bool EachPiece(std::span<const Segment> segments, std::uint64_t bytes, Visit&& visit) {
  std::uint64_t at = 0;
  for (const Segment& segment : segments) {
    const std::uint64_t count = std::min(segment.bytes, bytes - at);
    if (count != 0 && !visit(segment.data, count, at)) return false;
    at += count;
  }
  return at == bytes;
}

// Word w of a version is base + w * kStep; a piece may begin within one.
std::uint64_t WordAt(std::uint64_t base, std::uint64_t position) {
  return base + position / 8 * kStep;
}

std::uint64_t Shifted(std::uint64_t base, std::uint64_t position) {
  const unsigned skip = position % 8 * 8;
  const std::uint64_t word = WordAt(base, position);
  return skip == 0 ? word : word >> skip | (word + kStep) << (64 - skip);
}

void FillPiece(std::uint64_t base, std::byte* to, std::uint64_t count, std::uint64_t position) {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const std::uint64_t word = Shifted(base, position + i);
    std::memcpy(to + i, &word, 8);
  }
  const std::uint64_t word = Shifted(base, position + i);
  std::memcpy(to + i, &word, count - i);
}

bool SamePiece(std::uint64_t base, const std::byte* from, std::uint64_t count,
               std::uint64_t position) {
  std::uint64_t i = 0;
  std::uint64_t different = 0;
  for (; i + 8 <= count; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, from + i, 8);
    different |= word ^ Shifted(base, position + i);
  }
  const std::uint64_t word = Shifted(base, position + i);
  return different == 0 && std::memcmp(from + i, &word, count - i) == 0;
}

}  // namespace

void FillContent(std::uint64_t base, std::span<const Segment> segments) {
  EachPiece(segments, ~std::uint64_t{0} >> 1,
            [&](std::byte* to, std::uint64_t count, std::uint64_t position) {
              FillPiece(base, to, count, position);
              return true;
            });
}

std::uint64_t BaseOf(std::span<const Segment> segments, std::uint64_t bytes) {
  std::uint64_t base = 0;
  EachPiece(segments, std::min<std::uint64_t>(8, bytes),
            [&](const std::byte* from, std::uint64_t count, std::uint64_t position) {
              std::memcpy(reinterpret_cast<std::byte*>(&base) + position, from, count);
              return true;
            });
  return base;
}

bool HasContent(std::uint64_t base, std::span<const Segment> segments, std::uint64_t bytes) {
  return EachPiece(segments, bytes,
                   [&](const std::byte* from, std::uint64_t count, std::uint64_t position) {
                     return SamePiece(base, from, count, position);
                   });
}

std::uint32_t Oracle::AddKey(std::uint32_t space, std::string name) {
  keys_.push_back({space, std::move(name), {}});
  return static_cast<std::uint32_t>(keys_.size() - 1);
}

std::uint32_t Oracle::BeginPut(std::uint32_t key, std::uint32_t bytes, Order order) {
  auto& versions = keys_[key].versions;
  Version version;
  version.base = Scramble(seed_ ^ Scramble(std::uint64_t{key} << 32 | versions.size()));
  version.bytes = bytes;
  version.submitted = order;
  versions.push_back(version);
  return static_cast<std::uint32_t>(versions.size() - 1);
}

// A version that was taken in found the key absent, so what was there before had gone by then.
void Oracle::EndPut(std::uint32_t key, std::uint32_t version, bool ok, bool maybe, bool durable) {
  auto& versions = keys_[key].versions;
  Version& put = versions[version];
  put.state = ok ? Version::State::kThere : maybe ? Version::State::kMaybe : Version::State::kNever;
  put.durable = ok && durable;
  if (put.state == Version::State::kNever) return;
  for (Version& other : versions) {
    if (&other == &put || other.state == Version::State::kNever) continue;
    if (other.submitted < put.submitted) {
      if (ok) other.gone = std::min(other.gone, put.submitted);
    } else if (other.state == Version::State::kThere) {
      put.gone = std::min(put.gone, other.submitted);
    }
  }
}

void Oracle::Dropped(std::uint32_t key, Order order) {
  for (Version& version : keys_[key].versions) {
    if (version.state == Version::State::kThere || version.state == Version::State::kMaybe) {
      version.gone = std::min(version.gone, order);
    }
  }
}

std::optional<std::uint32_t> Oracle::Current(std::uint32_t key) const {
  std::optional<std::uint32_t> found;
  const auto& versions = keys_[key].versions;
  for (std::uint32_t i = 0; i < versions.size(); ++i) {
    if (versions[i].state == Version::State::kNever || versions[i].gone <= order_) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

std::string Oracle::Judge(std::uint32_t key, std::span<const Segment> segments, std::uint64_t bytes,
                          Order submitted, std::uint32_t* version) const {
  const std::uint64_t base = BaseOf(segments, bytes);
  const auto& versions = keys_[key].versions;
  for (std::uint32_t i = 0; i < versions.size(); ++i) {
    const Version& one = versions[i];
    if (one.base != base) continue;
    *version = i;
    if (one.bytes != bytes) return fmt::format("{} bytes of {}", bytes, one.bytes);
    if (!HasContent(base, segments, bytes)) return fmt::format("version {} in part", i);
    if (one.state == Version::State::kNever) return fmt::format("version {} never was there", i);
    if (one.gone < submitted) return fmt::format("version {} was gone", i);
    return {};
  }
  return "bytes of nobody";
}

void Oracle::Require(std::uint32_t key, bool keeps, bool present, bool clean) {
  auto& versions = keys_[key].versions;
  const auto current = Current(key);
  for (Version& version : versions) {
    version.required = false;
    version.durable = version.durable && keeps;
  }
  if (!present || !current) return;
  Version& version = versions[*current];
  if (version.state != Version::State::kThere) return;
  version.required = version.durable || clean;
}

// What was being put may have been recorded; what went may come back, unless that was recorded.
void Oracle::Resurrect(KeyRecord& key) const {
  for (Version& version : key.versions) {
    if (version.state == Version::State::kNever) continue;
    if (version.gone <= recorded_) {
      version.state = Version::State::kNever;
    } else {
      version.state = Version::State::kMaybe;
      version.gone = ~Order{0};
    }
  }
}

std::optional<std::uint32_t> Oracle::Required(std::uint32_t key) const {
  const auto& versions = keys_[key].versions;
  for (std::uint32_t i = 0; i < versions.size(); ++i) {
    if (versions[i].required) return i;
  }
  return std::nullopt;
}

void Oracle::Sleep(std::uint32_t key) {
  for (Version& version : keys_[key].versions) version.required = false;
}

void Oracle::Wake(std::uint32_t key, std::uint32_t version) {
  auto& versions = keys_[key].versions;
  const bool replaced =
      std::any_of(versions.begin() + version + 1, versions.end(),
                  [](const Version& later) { return later.state != Version::State::kNever; });
  if (replaced || versions[version].state == Version::State::kNever) return;
  Sleep(key);
  versions[version].required = true;
}

void Oracle::DoubtDurable() {
  for (KeyRecord& key : keys_) {
    for (Version& version : key.versions) version.durable = false;
  }
}

void Oracle::Found(std::uint32_t key, std::optional<std::uint32_t> version) {
  auto& versions = keys_[key].versions;
  for (std::uint32_t i = 0; i < versions.size(); ++i) {
    Version& one = versions[i];
    if (version == i) {
      one.state = Version::State::kThere;
      one.durable = true;
    } else if (one.state != Version::State::kNever) {
      one.gone = std::min(one.gone, order_);
    }
  }
}

}  // namespace kvpool::sim
