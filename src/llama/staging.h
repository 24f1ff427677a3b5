// Memory between llama.cpp and the pool, in equal slots, and a channel that moves several at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kvpool/pool.h"

namespace kvpool::llama {

// Threads: one at a time.
class Staging {
 public:
  static Result<std::unique_ptr<Staging>> Open(Pool& pool, Space space, std::uint64_t bytes);
  ~Staging();

  // Gives each key's bytes to `take` in order, and reads ahead. Ends where one is missing, or where
  // `take` returns false.
  template <class Take>
  void Load(std::span<const Key> keys, Take take) {
    std::size_t done = 0;
    while (done < keys.size()) {
      const Status status = ReadAhead(keys.subspan(done), [&](std::span<std::byte> block) {
        const bool goes_on = take(block);
        done += goes_on ? 1 : 0;
        return goes_on;
      });
      // The pool has longer blocks than the slots: the first one that a process sees tells.
      if (status != Status::kInvalid || !Grow(2 * slot_bytes_)) return;
    }
  }

  // To store: Next's memory, filled, and then Put. Next waits for a slot to be free; empty: no
  // block is that large, or there is no memory.
  std::span<std::byte> Next(std::uint64_t bytes);
  // Keys stay until Finish. False: the pool did not take the request.
  bool Put(const Key& key, std::uint64_t ordinal, const Key& parent, std::uint64_t bytes);

  struct Stored {
    std::size_t blocks = 0;      // that were absent and are there now
    bool has_too_large = false;  // one was larger than a block of the pool can be
  };
  // Waits for what was put since the last Finish.
  Stored Finish();

 private:
  struct Slot {
    GetRequest get;
    PutRequest put;
    Key key;
    Segment segment;
    bool is_in_flight = false;
    bool is_put = false;
  };

  explicit Staging(Pool& pool, Space space, std::uint64_t bytes)
      : pool_(pool), space_(space), bytes_(bytes) {}

  // Status of the first key that was not there, else kOk.
  template <class Take>
  Status ReadAhead(std::span<const Key> keys, Take take) {
    Status status = Status::kOk;
    std::size_t sent = 0;
    for (std::size_t i = 0; i < keys.size() && status == Status::kOk; ++i) {
      while (sent < std::min(keys.size(), i + slots_.size()) && SubmitGet(sent, keys[sent])) ++sent;
      if (sent == i) break;  // the pool takes nothing
      Slot& slot = slots_[i % slots_.size()];
      Await(slot);
      status = slot.get.result(0);
      if (status != Status::kOk) break;
      if (!take(std::span(slot.segment.data, slot.get.block_bytes(0)))) break;
    }
    AwaitAll();
    return status;
  }

  Result<void> Make(std::uint64_t slot_bytes);
  bool Grow(std::uint64_t slot_bytes);
  bool SubmitGet(std::size_t number, const Key& key);
  void Await(Slot& slot);
  void AwaitAll();

  Pool& pool_;
  Space space_;
  std::uint64_t bytes_;
  std::uint64_t slot_bytes_ = 0;
  std::shared_ptr<Memory> memory_;
  std::vector<Slot> slots_;
  std::size_t next_ = 0;  // of slots_, for Next
  Stored stored_;
  std::unique_ptr<Channel> channel_;
};

}  // namespace kvpool::llama
