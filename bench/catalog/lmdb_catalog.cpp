#include "bench/catalog/lmdb_catalog.h"

#include <fmt/format.h>
#include <lmdb.h>

#include <cstring>

#include "catalog/units_blob.h"

namespace kvpool::bench {
namespace {

using catalog::BlockRow;
using catalog::Change;

// Before key, parent and units in a row's value.
struct Head {
  std::uint64_t block_bytes;
  std::uint64_t ordinal;
  std::uint32_t space;
  std::uint16_t key_bytes;
  std::uint16_t parent_bytes;
};

tl::unexpected<Error> Failure(int code) {
  return Fail(Status::kIoError, fmt::format("LMDB: {}", mdb_strerror(code)), code);
}

class LmdbCatalog final : public catalog::Catalog {
 public:
  ~LmdbCatalog() override { mdb_env_close(environment_); }

  Result<void> Open(const std::filesystem::path& path, std::uint64_t map_bytes) {
    int code = mdb_env_create(&environment_);
    if (code == 0) code = mdb_env_set_mapsize(environment_, map_bytes);
    if (code == 0) code = mdb_env_open(environment_, path.c_str(), MDB_NOSUBDIR, 0644);
    MDB_txn* transaction = nullptr;
    if (code == 0) code = mdb_txn_begin(environment_, nullptr, 0, &transaction);
    if (code == 0) code = mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &rows_);
    if (code == 0) code = mdb_txn_commit(transaction);
    if (code != 0) return Failure(code);
    return {};
  }

  Result<std::uint32_t> SpaceId(const SpaceSpec& /*spec*/) override { return 1; }
  Result<void> Forget(std::span<const std::uint32_t> /*spaces*/) override { return {}; }
  Result<std::vector<std::pair<std::uint32_t, SpaceSpec>>> Spaces() override { return {}; }
  Result<std::uint64_t> HighestGeneration() override { return 0; }

  Result<std::uint64_t> Load(const std::function<void(BlockRow&&)>& visit) override {
    MDB_txn* transaction = nullptr;
    MDB_cursor* cursor = nullptr;
    int code = mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction);
    if (code == 0) code = mdb_cursor_open(transaction, rows_, &cursor);
    if (code != 0) return Failure(code);
    MDB_val key;
    MDB_val value;
    std::uint64_t skipped = 0;
    for (MDB_cursor_op step = MDB_LAST; code == 0; step = MDB_PREV) {
      code = mdb_cursor_get(cursor, &key, &value, step);
      if (code != 0) break;
      BlockRow row;
      if (Read(key, value, row)) {
        visit(std::move(row));
      } else {
        ++skipped;
      }
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    if (code != MDB_NOTFOUND) return Failure(code);
    return skipped;
  }

  Result<void> Apply(std::span<const Change> changes) override {
    MDB_txn* transaction = nullptr;
    int code = mdb_txn_begin(environment_, nullptr, 0, &transaction);
    if (code != 0) return Failure(code);
    for (const Change& change : changes) {
      code = ApplyOne(transaction, change);
      if (code == 0) continue;
      mdb_txn_abort(transaction);
      return Failure(code);
    }
    code = mdb_txn_commit(transaction);
    if (code != 0) return Failure(code);
    return {};
  }

 private:
  int ApplyOne(MDB_txn* transaction, const Change& change) {
    std::uint64_t generation = change.row.generation;
    MDB_val key{sizeof generation, &generation};
    if (change.kind == Change::Kind::kRemove) {
      const int code = mdb_del(transaction, rows_, &key, nullptr);
      return code == MDB_NOTFOUND ? 0 : code;
    }
    catalog::EncodeUnits(change.row.units, units_);
    const BlockRow& row = change.row;
    const Head head{row.block_bytes, row.ordinal, row.space,
                    static_cast<std::uint16_t>(row.key.size()),
                    static_cast<std::uint16_t>(row.parent.size())};
    MDB_val value{sizeof head + row.key.size() + row.parent.size() + units_.size(), nullptr};
    const int code = mdb_put(transaction, rows_, &key, &value, MDB_RESERVE);
    if (code != 0) return code;
    auto* at = static_cast<std::byte*>(value.mv_data);
    const auto append = [&at](const void* bytes, std::size_t count) {
      std::memcpy(at, bytes, count);
      at += count;
    };
    append(&head, sizeof head);
    append(row.key.data(), row.key.size());
    append(row.parent.data(), row.parent.size());
    append(units_.data(), units_.size());
    return 0;
  }

  static bool Read(const MDB_val& key, const MDB_val& value, BlockRow& row) {
    Head head;
    if (key.mv_size != sizeof row.generation || value.mv_size < sizeof head) return false;
    std::memcpy(&row.generation, key.mv_data, sizeof row.generation);
    std::memcpy(&head, value.mv_data, sizeof head);
    const auto* at = static_cast<const char*>(value.mv_data) + sizeof head;
    const std::size_t names = std::size_t{head.key_bytes} + head.parent_bytes;
    if (value.mv_size < sizeof head + names) return false;
    row.space = head.space;
    row.block_bytes = head.block_bytes;
    row.ordinal = head.ordinal;
    row.key.assign(at, head.key_bytes);
    row.parent.assign(at + head.key_bytes, head.parent_bytes);
    return catalog::DecodeUnits(
        std::as_bytes(std::span(at + names, value.mv_size - sizeof head - names)), row.units);
  }

  MDB_env* environment_ = nullptr;
  MDB_dbi rows_ = 0;
  std::vector<std::byte> units_;
};

}  // namespace

Result<std::unique_ptr<catalog::Catalog>> OpenLmdb(const std::filesystem::path& path,
                                                   std::uint64_t map_bytes) {
  auto store = std::make_unique<LmdbCatalog>();
  if (auto opened = store->Open(path, map_bytes); !opened) return tl::unexpected(opened.error());
  return std::unique_ptr<catalog::Catalog>(std::move(store));
}

}  // namespace kvpool::bench
