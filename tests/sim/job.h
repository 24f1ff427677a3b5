// Job: one request of a client, with its keys, its memory and what the oracle has to know of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kvpool/request.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"

namespace kvpool::sim {

// Memory for one request's segments. Arenas go round; they never go away, so that a device that
// writes late writes into one that the checks look at.
class Arena {
 public:
  static constexpr std::uint64_t kBytes = 1 << 20;
  static Arena* Take();
  static void Give(Arena* arena);
  // The one that an address lies in; nullptr: none.
  static const Arena* Of(const void* address);
  std::byte* data() { return bytes_; }
  std::span<const std::byte> bytes() const { return {bytes_, kBytes}; }

  bool stays = false;  // the memory cannot be detached from a late transfer

 private:
  std::byte* bytes_ = nullptr;
};

enum class JobKind : std::uint8_t { kPut, kGet, kDrop, kFlush };

// A client's view of a request. Lives until its request is back and its lease is released.
struct Job {
  explicit Job(JobKind job_kind) : kind(job_kind), arena(Arena::Take()) {}
  ~Job() { Arena::Give(arena); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  JobKind kind;
  PutRequest put;
  GetRequest get;
  DropRequest drop;
  FlushRequest flush;
  std::vector<std::uint32_t> ids;  // of the keys, in the oracle
  std::vector<Key> keys;
  std::vector<Segment> segments;
  std::vector<std::optional<std::uint32_t>> versions;  // put: its own; flush: those it would see
  std::vector<std::uint8_t> present;                   // get: when it was submitted
  Arena* arena;
  Order order = 0;
  std::int64_t submitted_ns = 0;
  std::int64_t patience_ns = 0;
  std::int64_t held_ns = 0;     // when a device was last seen to hold memory of it that stays
  std::uint64_t troubles = 0;   // the world's, when it was submitted
  std::int64_t release_ns = 0;  // of a lease
  std::uint32_t layers_ready = 0;

  Request& request();
  std::span<const Segment> SegmentsOf(std::size_t key) const {
    const std::size_t per_key = segments.size() / keys.size();
    return std::span(segments).subspan(key * per_key, per_key);
  }
  // Cuts room for each key, `bytes[key]` of it, into as many segments, aligned for drives or not.
  void CutSegments(std::span<const std::uint32_t> bytes, Random& random);
};

}  // namespace kvpool::sim
