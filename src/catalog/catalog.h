// Catalog: the durable record of which block lies where. Off the request path, in batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvpool/key.h"
#include "kvpool/result.h"
#include "layout/extent.h"

namespace kvpool::catalog {

inline constexpr std::uint32_t kMaxSpaceId = 1'000'000;

struct BlockRow {
  std::uint32_t space = 0;  // the space's id in the catalog
  std::string key;
  std::uint64_t block_bytes = 0;
  std::uint64_t generation = 0;  // unique for ever in a pool
  std::uint64_t ordinal = 0;
  std::string parent;  // the parent's key; empty: none
  std::vector<layout::UnitRecord> units;
};

struct Change {
  // kAdd replaces a row of the same generation; kRemove of an absent one does nothing.
  enum class Kind : std::uint8_t { kAdd, kRemove } kind = Kind::kAdd;
  BlockRow row;  // kRemove: generation only
};

// What was ever written to a drive, and what its owner still lets be written.
struct WearRow {
  static constexpr std::uint64_t kNoBudget = ~std::uint64_t{0} >> 1;

  std::uint64_t device_id = 0;  // in the drive's label
  std::uint64_t bytes_written = 0;
  std::uint64_t budget_left = 0;  // at `recorded_unix_s`; or kNoBudget
  std::int64_t recorded_unix_s = 0;

  friend bool operator==(const WearRow&, const WearRow&) = default;
};

// Format: docs/formats/catalog.md. An open catalog is locked against other processes.
// Every method may fail with kNoSpace, kIoError or kCorrupt (the file is damaged).
// Threads: one.
class Catalog {
 public:
  // Makes a new one, whole or not at all; nothing is left behind where it fails, and no file of
  // another is touched. kExists: a file is there already, or one that would belong to the new one
  // (`path`-wal, -shm, -journal). kInvalid: its folder cannot be written.
  static Result<void> Create(const std::filesystem::path& path, std::uint64_t pool_id);
  // One of version 1 becomes one of version 2, at once and for good. kNotFound: no file. kInvalid:
  // not a catalog, another pool's, or of another version.
  // kBusy: another process has it open.
  static Result<std::unique_ptr<Catalog>> Open(const std::filesystem::path& path,
                                               std::uint64_t pool_id);
  // Whose catalog it is. As Open.
  static Result<std::uint64_t> PoolIdOf(const std::filesystem::path& path);
  virtual ~Catalog() = default;

  // The id of a space, made if new, durable when it returns. Specs that differ in any field have
  // different ids, from 1 to kMaxSpaceId: a new one gets the smallest that is free. kInvalid:
  // layers not 1 to kMaxLayers. kNoSpace: no id is free.
  virtual Result<std::uint32_t> SpaceId(const SpaceSpec& spec) = 0;
  // Spaces of which no row is left; their ids are free. One transaction, durable when it returns.
  virtual Result<void> Forget(std::span<const std::uint32_t> spaces) = 0;
  // Those that are good; rows that break a limit are left out, and Load then skips their blocks.
  virtual Result<std::vector<std::pair<std::uint32_t, SpaceSpec>>> Spaces() = 0;
  // The highest generation that an Apply ever named, also where its row is gone since; 0: none.
  // Never goes down, and leaves 2^48 generations above it: kCorrupt otherwise.
  virtual Result<std::uint64_t> HighestGeneration() = 0;
  // Every block, newest first: generations strictly descend. Of two blocks of one key, or in one
  // slot, the first is therefore the one that counts. Rows that do not decode, stand out of order
  // or name no space of Spaces() are skipped; returns how many were.
  virtual Result<std::uint64_t> Load(const std::function<void(BlockRow&&)>& visit) = 0;
  // One transaction, in order; durable when it returns, and nothing of it happened when it fails.
  virtual Result<void> Apply(std::span<const Change> changes) = 0;
  // kNotFound: the file was removed or replaced since it was opened; what is applied is lost.
  virtual Result<void> CheckThere() { return {}; }

  // Of every drive that was recorded; a catalog may keep no count. Rows that do not decode are left
  // out.
  virtual Result<std::vector<WearRow>> Wear() { return std::vector<WearRow>{}; }
  // Replaces the rows of these drives; durable when it returns.
  virtual Result<void> RecordWear(std::span<const WearRow> /*rows*/) { return {}; }
};

}  // namespace kvpool::catalog
