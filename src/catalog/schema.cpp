#include "catalog/schema.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "base/limits.h"
#include "catalog/units_blob.h"

namespace kvpool::catalog {
namespace {

constexpr std::array kSpaceText{&SpaceSpec::model,       &SpaceSpec::dtype, &SpaceSpec::layout,
                                &SpaceSpec::layer_group, &SpaceSpec::rank,  &SpaceSpec::engine,
                                &SpaceSpec::tenant_salt, &SpaceSpec::owner};
constexpr int kSpaceLayers = static_cast<int>(kSpaceText.size()) + 1;
static_assert(kSpaceLayers == kSpecParameters);

constexpr const char* kSpacesColumns =
    "(id INTEGER PRIMARY KEY AUTOINCREMENT, model BLOB NOT NULL, dtype BLOB NOT NULL,"
    " layout BLOB NOT NULL, layer_group BLOB NOT NULL, rank BLOB NOT NULL, engine BLOB NOT NULL,"
    " tenant_salt BLOB NOT NULL, owner BLOB NOT NULL, layers INTEGER NOT NULL,"
    " UNIQUE (model, dtype, layout, layer_group, rank, engine, tenant_salt, owner, layers))";

}  // namespace

std::string Schema() {
  return fmt::format(
      "BEGIN;"
      "CREATE TABLE pool (pool_id INTEGER NOT NULL, highest_generation INTEGER NOT NULL);"
      "CREATE TABLE spaces {};"
      "CREATE TABLE blocks (generation INTEGER PRIMARY KEY, space INTEGER NOT NULL,"
      " key BLOB NOT NULL, block_bytes INTEGER NOT NULL, ordinal INTEGER NOT NULL,"
      " parent BLOB NOT NULL, units BLOB NOT NULL);"
      "PRAGMA application_id = {};"
      "PRAGMA user_version = {};",
      kSpacesColumns, kApplicationId, kVersion);
}

std::string Upgrade() {
  return fmt::format(
      "CREATE TABLE owned_spaces {};"
      "INSERT INTO owned_spaces (id, model, dtype, layout, layer_group, rank, engine, tenant_salt,"
      " owner, layers) {};"
      "DROP TABLE spaces;"
      "ALTER TABLE owned_spaces RENAME TO spaces;"
      "PRAGMA user_version = {};",
      kSpacesColumns, kSelectFormerSpaces, kVersion);
}

void BindSpec(const SpaceSpec& spec, Statement& statement) {
  int index = 1;
  for (const auto field : kSpaceText) statement.Bind(index++, std::string_view(spec.*field));
  statement.Bind(kSpaceLayers, std::uint64_t{spec.layers});
}

// Columns as in kSpaceText, after the id in column 0.
bool ReadSpace(const Statement& row, std::uint32_t& id, SpaceSpec& spec) {
  if (!row.IsInteger(0) || !row.IsInteger(kSpaceLayers)) return false;
  if (row.Integer(0) < 1 || row.Integer(0) > kMaxSpaceId) return false;
  if (row.Integer(kSpaceLayers) < 1 || row.Integer(kSpaceLayers) > kMaxLayers) return false;
  id = static_cast<std::uint32_t>(row.Integer(0));
  spec.layers = static_cast<std::uint32_t>(row.Integer(kSpaceLayers));
  int column = 1;
  for (const auto field : kSpaceText) {
    if (!row.IsBlob(column)) return false;
    spec.*field = row.Text(column++);
  }
  return true;
}

// Columns: generation, space, key, block_bytes, ordinal, parent, units.
bool ReadBlock(const Statement& row, BlockRow& block) {
  for (const int column : {0, 1, 3, 4}) {
    if (!row.IsInteger(column)) return false;
  }
  for (const int column : {2, 5, 6}) {
    if (!row.IsBlob(column)) return false;
  }
  block.generation = row.Integer(0);
  block.space = static_cast<std::uint32_t>(row.Integer(1));
  block.block_bytes = row.Integer(3);
  block.ordinal = row.Integer(4);
  if (block.space != row.Integer(1) || row.Blob(2).empty()) return false;
  if (row.Blob(2).size() > kMaxKeyBytes || row.Blob(5).size() > kMaxKeyBytes) return false;
  block.key = row.Text(2);
  block.parent = row.Text(5);
  if (!DecodeUnits(row.Blob(6), block.units)) return false;
  return block.block_bytes >= block.units.size() &&
         block.block_bytes <= block.units.size() * std::uint64_t{kMaxUnitBytes};
}

}  // namespace kvpool::catalog
