// Presence: which keys a space holds, as a table of digests in shared memory that the daemon alone
// writes. docs/formats/ipc.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

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

// The daemon's side. Threads: one at a time; readers look meanwhile.
class PresenceWriter {
 public:
  static Result<std::unique_ptr<PresenceWriter>> Make(std::uint64_t seed);

  void Add(Key key);     // nothing where it is there already
  void Remove(Key key);  // nothing where it is not there
  // Changes when the keys outgrow it. Null: memory for a larger one could not be had, and nothing
  // is known to be there any more.
  const std::shared_ptr<SharedTable>& table() const { return table_; }

 private:
  explicit PresenceWriter(std::shared_ptr<SharedTable> table) : table_(std::move(table)) {}
  void Grow();
  bool Put(std::uint64_t digest);  // false: it is there

  std::shared_ptr<SharedTable> table_;
  std::uint64_t present_ = 0;
  std::uint64_t used_ = 0;  // slots that are not 0
};

// A client's side.
std::size_t MatchIn(const SharedTable& table, std::span<const Key> keys);
bool IsIn(const SharedTable& table, Key key);

}  // namespace kvpool::ipc
