#include "ipc/arguments.h"

#include <cstring>

#include "base/limits.h"

namespace kvpool::ipc {
namespace {

std::uint16_t LengthOf(Key key) {
  return key.size() > kMaxKeyBytes ? std::uint16_t{0} : static_cast<std::uint16_t>(key.size());
}

}  // namespace

std::uint32_t Arguments::KeyBytes() const {
  std::uint32_t bytes = LengthOf(parent);
  for (const Key key : keys) bytes += LengthOf(key);
  return bytes;
}

ArgumentsLayout Arguments::Layout() const {
  return {static_cast<std::uint32_t>(keys.size()), static_cast<std::uint32_t>(segments.size()),
          KeyBytes(), views};
}

void Arguments::Encode(std::span<std::byte> to) const {
  const ArgumentsLayout layout = Layout();
  if (!segments.empty()) std::memcpy(to.data(), segments.data(), segments.size_bytes());
  std::byte* length = to.data() + layout.lengths;
  std::byte* text = to.data() + layout.key_bytes;
  const auto add = [&](Key key) {
    const std::uint16_t bytes = LengthOf(key);
    std::memcpy(length, &bytes, sizeof bytes);
    if (bytes != 0) std::memcpy(text, key.data(), bytes);
    length += sizeof bytes;
    text += bytes;
  };
  for (const Key key : keys) add(key);
  add(parent);
}

bool DecodedArguments::Decode(const Submission& submission, std::span<const std::byte> region) {
  keys_.clear();
  segments_.clear();
  copy_.clear();
  parent_ = {};
  if (submission.keys > kMaxBatchKeys || submission.segments > kMaxSegments ||
      submission.views > kMaxViews) {
    return false;
  }
  if (submission.key_bytes > (submission.keys + 1) * kMaxKeyBytes) return false;
  const ArgumentsLayout layout(submission.keys, submission.segments, submission.key_bytes,
                               submission.views);
  if (submission.arguments % 8 != 0 || submission.arguments > region.size() ||
      layout.bytes > region.size() - submission.arguments) {
    return false;
  }
  // The only look; the client may write there meanwhile.
  const std::byte* from = region.data() + submission.arguments;
  copy_.assign(from, from + layout.results);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  segments_.resize(submission.segments);
  if (!segments_.empty()) std::memcpy(segments_.data(), copy_.data(), layout.lengths);
  const char* text = reinterpret_cast<const char*>(copy_.data()) + layout.key_bytes;
  std::uint32_t left = submission.key_bytes;
  for (std::uint32_t i = 0; i <= submission.keys; ++i) {
    std::uint16_t bytes = 0;
    std::memcpy(&bytes, copy_.data() + layout.lengths + i * sizeof bytes, sizeof bytes);
    if (bytes > left || bytes > kMaxKeyBytes) return false;
    (i < submission.keys ? keys_.emplace_back() : parent_) = Key(text, bytes);
    text += bytes;
    left -= bytes;
  }
  return left == 0;
}

}  // namespace kvpool::ipc
