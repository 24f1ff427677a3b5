// What a client may write: records in a socket, arguments in a region, a channel's memory.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "ipc/arguments.h"
#include "ipc/records.h"
#include "ipc/ring.h"

namespace {

using namespace kvpool::ipc;

void DecodeArguments(std::span<const std::byte> input) {
  Submission submission;
  if (input.size() < sizeof submission) return;
  std::copy_n(input.begin(), sizeof submission, WritableBytesOf(submission).begin());
  const std::vector<std::byte> region(input.begin() + sizeof submission, input.end());
  DecodedArguments decoded;
  if (!decoded.Decode(submission, region)) return;
  KVPOOL_CHECK(decoded.keys().size() == submission.keys);
  KVPOOL_CHECK(decoded.segments().size() == submission.segments);
  // What was taken is what would be sent.
  const Arguments again{decoded.keys(), decoded.parent(), decoded.segments()};
  std::vector<std::byte> encoded(again.Layout().bytes);
  again.Encode(encoded);
  const std::byte* sent = region.data() + submission.arguments;
  KVPOOL_CHECK(std::equal(encoded.begin(), encoded.begin() + again.Layout().key_bytes, sent));
}

// The input is the memory of a channel of depth 4, between one look of the daemon's and the next.
void RunRing(std::span<const std::byte> input) {
  constexpr std::uint32_t kDepth = 4;
  static std::vector<std::byte> room(ChannelLayout(kDepth).bytes + 4096);
  auto* aligned = reinterpret_cast<std::byte*>(
      (reinterpret_cast<std::uintptr_t>(room.data()) + 4095) / 4096 * 4096);
  const std::span<std::byte> memory(aligned, ChannelLayout(kDepth).bytes);
  std::fill(memory.begin(), memory.end(), std::byte{0});
  DaemonRing ring(memory, kDepth);
  std::vector<std::uint64_t> in_flight;
  while (!input.empty()) {
    // A byte says where, the next ones what.
    const auto at = static_cast<std::size_t>(input[0]);
    const std::size_t bytes = std::min<std::size_t>(input.size() - 1, 24);
    const std::size_t offset = at < 64 ? at * 64 : ChannelLayout::kSubmissions + (at - 64) * 8;
    const std::size_t fits = std::min(bytes, memory.size() - std::min(memory.size(), offset));
    std::copy_n(input.begin() + 1, fits, memory.begin() + static_cast<std::ptrdiff_t>(offset));
    input = input.subspan(1 + bytes);
    Submission submission;
    const auto took = ring.Take(submission);
    if (took == DaemonRing::Took::kViolation) return;
    if (took == DaemonRing::Took::kSubmission) {
      KVPOOL_CHECK(std::find(in_flight.begin(), in_flight.end(), submission.id) == in_flight.end());
      in_flight.push_back(submission.id);
      ring.Progress(submission.id).store(1);
    }
    KVPOOL_CHECK(ring.in_flight() == in_flight.size() && in_flight.size() <= kDepth);
    if (in_flight.size() >= 2) {
      ring.Complete(in_flight.front(), kvpool::Status::kOk);
      in_flight.erase(in_flight.begin());
    }
    (void)ring.GoToSleep();
    (void)ring.ClientSleeps();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  if (input.empty()) return 0;
  const auto rest = input.subspan(1);
  switch (static_cast<unsigned>(input[0]) % 4) {
    case 0:
      if (const auto spec = DecodeSpace(rest))
        KVPOOL_CHECK(EncodeSpace(*spec)->size() == rest.size());
      break;
    case 1:
      (void)DecodeInfo(rest);
      break;
    case 2:
      DecodeArguments(rest);
      break;
    default:
      RunRing(rest);
  }
  return 0;
}
