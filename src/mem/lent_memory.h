// LentMemory: memory whose pages come and go by 2 MiB, which others may map to look at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/descriptor.h"
#include "kvpool/result.h"

namespace kvpool::mem {

// The lender's side: shared memory that is empty at first. Threads: any, on parts that do not
// overlap.
class LentMemory {
 public:
  struct Options {
    std::uint64_t bytes = 0;  // a multiple of 2 MiB, of addresses; pages are taken by Fill
    int numa_node = -1;       // tried, as `lock` is
    bool lock = true;
  };
  // kNoSpace: no descriptor or no addresses are left.
  static Result<std::unique_ptr<LentMemory>> Make(const Options& options);
  ~LentMemory();
  LentMemory(const LentMemory&) = delete;
  LentMemory& operator=(const LentMemory&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

  // Zeros at [offset, + bytes), both multiples of 2 MiB, on hugepages where the kernel gives them.
  // False: there is no memory, and whatever came of it is for Drop to give back.
  bool Fill(std::uint64_t offset, std::uint64_t bytes) const;
  // Gives the pages back, at once and for every process that has them mapped: it finds zeros there.
  void Drop(std::uint64_t offset, std::uint64_t bytes) const;
  // The first 2 MiB from `offset` on that have pages; bytes().size(): none. Also pages that a
  // borrower made by reading where there are none.
  std::uint64_t NextFilled(std::uint64_t offset) const;

  // Another process can map what is behind it, and neither write there nor change its size. Root,
  // and processes of this user, could open it anew for writing, as they could look into this one.
  // kUnsupported: there is no /proc.
  Result<Descriptor> ForBorrowers() const;

 private:
  LentMemory() = default;
  Descriptor fd_;
  std::span<std::byte> bytes_;
};

// The borrower's side, to read only. Threads: immutable once made.
class BorrowedMemory {
 public:
  // kInvalid: what is behind it has not that many bytes. kNoSpace: no addresses are left.
  static Result<std::shared_ptr<BorrowedMemory>> Map(const Descriptor& fd, std::uint64_t bytes);
  ~BorrowedMemory();
  BorrowedMemory(const BorrowedMemory&) = delete;
  BorrowedMemory& operator=(const BorrowedMemory&) = delete;

  // Nobody may write there: not const only because views are not.
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  BorrowedMemory() = default;
  std::span<std::byte> bytes_;
};

}  // namespace kvpool::mem
