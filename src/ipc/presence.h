// Presence: which keys a space holds, as a table of digests in shared memory that the daemon alone
// writes. docs/formats/ipc.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/descriptor.h"
#include "ipc/protocol.h"
#include "kvpool/key.h"
#include "kvpool/result.h"

namespace kvpool::ipc {

// Shared memory, mapped. Threads: immutable once made.
class SharedTable {
 public:
  // Of `slots`, a power of two; nobody who gets the descriptor can write there.
  static Result<std::shared_ptr<SharedTable>> Make(std::uint64_t slots, std::uint64_t seed);
  // Has all of its pages come now instead of one by one.
  void Populate();
  // To look at only. kInvalid: it is none.
  static Result<std::shared_ptr<SharedTable>> Adopt(Descriptor fd);
  ~SharedTable();

  int fd() const { return fd_.get(); }
  PresenceHeader& header() const { return *reinterpret_cast<PresenceHeader*>(memory_.data()); }
  std::span<std::atomic<std::uint64_t>> slots() const { return slots_; }
  // 2 at least.
  std::uint64_t DigestOf(Key key) const;

 private:
  SharedTable() = default;
  Descriptor fd_;
  std::span<std::byte> memory_;
  std::span<std::atomic<std::uint64_t>> slots_;
};

// The daemon's side. A table that the keys outgrow is replaced step by step, a few slots with each
// key, so that no call takes long. Threads: one at a time; readers look meanwhile.
class PresenceWriter {
 public:
  // With room for as many keys before it has to grow, and their pages there already.
  static Result<std::unique_ptr<PresenceWriter>> Make(std::uint64_t seed, std::uint64_t keys = 0);

  void Add(Key key);     // nothing where it is there already
  void Remove(Key key);  // nothing where it is not there
  // Changes when the keys outgrow it. Null: memory for a larger one could not be had, and nothing
  // is known to be there any more.
  const std::shared_ptr<SharedTable>& table() const { return now_.table; }
  // The last one that was outgrown, once; null: none was since. To let go of one takes as long as
  // it is large: do it where nobody waits.
  std::shared_ptr<SharedTable> TakeFormer() { return std::exchange(former_, nullptr); }

 private:
  // A table, and how many of its slots are not 0.
  struct Slots {
    std::shared_ptr<SharedTable> table;
    std::uint64_t used = 0;

    bool Put(std::uint64_t digest);   // false: it is there
    bool Take(std::uint64_t digest);  // false: it is not there
  };
  explicit PresenceWriter(std::shared_ptr<SharedTable> table) : now_{std::move(table)} {}
  void BeginToGrow();
  void MoveSome();
  void Supersede(Slots by);

  Slots now_;
  std::uint64_t present_ = 0;
  Slots next_;               // takes its place once it has everything; no table: it need not grow
  std::uint64_t moved_ = 0;  // slots of `now_` from the first on, whose keys `next_` has
  std::shared_ptr<SharedTable> former_;
};

// A client's side.
std::size_t MatchIn(const SharedTable& table, std::span<const Key> keys);
bool IsIn(const SharedTable& table, Key key);

}  // namespace kvpool::ipc
