#include "ipc/records.h"

#include <algorithm>
#include <cstring>

namespace kvpool::ipc {
namespace {

template <class Spec>
auto TextsOf(Spec& spec) {
  return std::array{&spec.model, &spec.dtype,  &spec.layout,      &spec.layer_group,
                    &spec.rank,  &spec.engine, &spec.tenant_salt, &spec.owner};
}

template <class Info>
auto CountsOf(Info& info) {
  return std::array{&info.capacity_bytes,    &info.used_bytes,         &info.bytes_read,
                    &info.bytes_written,     &info.bytes_written_ever, &info.write_budget_per_day,
                    &info.write_budget_left, &info.io_errors,          &info.checksum_failures,
                    &info.missed_deadlines,  &info.transfers_abandoned};
}

template <class Info>
auto RatesOf(Info& info) {
  return std::array{&info.read_bytes_per_s, &info.write_bytes_per_s,
                    &info.measured_read_bytes_per_s, &info.measured_write_bytes_per_s, &info.share};
}

template <class Info>
auto TenantCountsOf(Info& info) {
  return std::array{&info.blocks,    &info.block_bytes, &info.used_bytes, &info.quota_bytes,
                    &info.evictions, &info.declined,    &info.hits,       &info.misses};
}

TenantRecord RecordOf(const TenantInfo& info) {
  TenantRecord record{.weight = info.weight};
  record.name.Set(info.name);
  std::size_t i = 0;
  for (const auto* count : TenantCountsOf(info)) record.counts[i++] = *count;
  return record;
}

TenantInfo InfoOf(const TenantRecord& record) {
  TenantInfo info{.name = std::string(record.name.Get()), .weight = record.weight};
  std::size_t i = 0;
  for (auto* count : TenantCountsOf(info)) *count = record.counts[i++];
  return info;
}

GpuRecord RecordOf(const GpuInfo& info) {
  GpuRecord record;
  record.name.Set(info.name);
  record.kind.Set(info.kind);
  record.identity.Set(info.identity);
  record.description.Set(info.description);
  record.failure.Set(info.failure);
  return record;
}

GpuInfo InfoOf(const GpuRecord& record) {
  return {.name = std::string(record.name.Get()),
          .kind = std::string(record.kind.Get()),
          .identity = std::string(record.identity.Get()),
          .description = std::string(record.description.Get()),
          .failure = std::string(record.failure.Get())};
}

DeviceRecord RecordOf(const DeviceInfo& info) {
  DeviceRecord record;
  record.name.Set(info.name);
  record.kind.Set(info.kind);
  record.description.Set(info.description);
  record.state_reason.Set(info.state_reason);
  record.state = static_cast<std::uint32_t>(info.state);
  std::size_t i = 0;
  for (const auto* count : CountsOf(info)) record.counts[i++] = *count;
  i = 0;
  for (const auto* rate : RatesOf(info)) record.rates[i++] = *rate;
  return record;
}

DeviceInfo InfoOf(const DeviceRecord& record) {
  DeviceInfo info;
  info.name = record.name.Get();
  info.kind = record.kind.Get();
  info.description = record.description.Get();
  info.state_reason = record.state_reason.Get();
  info.state = static_cast<DeviceState>(record.state);
  std::size_t i = 0;
  for (auto* count : CountsOf(info)) *count = record.counts[i++];
  i = 0;
  for (auto* rate : RatesOf(info)) *rate = record.rates[i++];
  return info;
}

// The first of `bytes`, which are enough.
template <class Record>
Record TakeRecord(std::span<const std::byte>& bytes) {
  const auto record = *RecordIn<Record>(bytes.first(sizeof(Record)));
  bytes = bytes.subspan(sizeof(Record));
  return record;
}

}  // namespace

void AppendBytes(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

std::optional<std::vector<std::byte>> EncodeSpace(const SpaceSpec& spec) {
  SpaceQuestion record{.layers = spec.layers};
  std::size_t i = 0;
  for (const std::string* text : TextsOf(spec)) {
    if (text->size() > kMaxSpaceTextBytes) return std::nullopt;
    record.lengths[i++] = static_cast<std::uint16_t>(text->size());
  }
  std::vector<std::byte> bytes;
  AppendBytes(bytes, BytesOf(record));
  for (const std::string* text : TextsOf(spec)) AppendBytes(bytes, std::as_bytes(std::span(*text)));
  return bytes;
}

std::optional<SpaceSpec> DecodeSpace(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(SpaceQuestion)) return std::nullopt;
  const auto record = *RecordIn<SpaceQuestion>(bytes.first(sizeof(SpaceQuestion)));
  bytes = bytes.subspan(sizeof(SpaceQuestion));
  SpaceSpec spec;
  spec.layers = record.layers;
  std::size_t i = 0;
  for (std::string* text : TextsOf(spec)) {
    const std::uint16_t length = record.lengths[i++];
    if (length > kMaxSpaceTextBytes || length > bytes.size()) return std::nullopt;
    text->assign(reinterpret_cast<const char*>(bytes.data()), length);
    bytes = bytes.subspan(length);
  }
  if (!bytes.empty() || record.zero != 0) return std::nullopt;
  return spec;
}

std::vector<std::byte> EncodeInfo(const PoolInfo& info) {
  PoolRecord pool{.blocks = info.blocks,
                  .block_bytes = info.block_bytes,
                  .evictions = info.evictions,
                  .dirty_bytes = info.dirty_bytes,
                  .declined = info.declined,
                  .blocks_lost_at_open = info.blocks_lost_at_open,
                  .devices = static_cast<std::uint32_t>(info.devices.size()),
                  .tenants = static_cast<std::uint32_t>(info.tenants.size()),
                  .gpus = static_cast<std::uint32_t>(info.gpus.size())};
  pool.name.Set(info.name);
  std::vector<std::byte> bytes;
  AppendBytes(bytes, BytesOf(pool));
  for (const DeviceInfo& device : info.devices) AppendBytes(bytes, BytesOf(RecordOf(device)));
  for (const TenantInfo& tenant : info.tenants) AppendBytes(bytes, BytesOf(RecordOf(tenant)));
  for (const GpuInfo& gpu : info.gpus) AppendBytes(bytes, BytesOf(RecordOf(gpu)));
  return bytes;
}

std::optional<PoolInfo> DecodeInfo(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(PoolRecord)) return std::nullopt;
  const auto pool = *RecordIn<PoolRecord>(bytes.first(sizeof(PoolRecord)));
  bytes = bytes.subspan(sizeof(PoolRecord));
  if (pool.devices > kMaxDevices || pool.tenants > kMaxTenants || pool.gpus > kMaxGpus ||
      bytes.size() != pool.devices * sizeof(DeviceRecord) + pool.tenants * sizeof(TenantRecord) +
                          pool.gpus * sizeof(GpuRecord)) {
    return std::nullopt;
  }
  PoolInfo info;
  info.name = pool.name.Get();
  info.blocks = pool.blocks;
  info.block_bytes = pool.block_bytes;
  info.evictions = pool.evictions;
  info.dirty_bytes = pool.dirty_bytes;
  info.declined = pool.declined;
  info.blocks_lost_at_open = pool.blocks_lost_at_open;
  for (std::uint32_t i = 0; i < pool.devices; ++i) {
    info.devices.push_back(InfoOf(TakeRecord<DeviceRecord>(bytes)));
  }
  for (std::uint32_t i = 0; i < pool.tenants; ++i) {
    info.tenants.push_back(InfoOf(TakeRecord<TenantRecord>(bytes)));
  }
  for (std::uint32_t i = 0; i < pool.gpus; ++i) {
    info.gpus.push_back(InfoOf(TakeRecord<GpuRecord>(bytes)));
  }
  return info;
}

}  // namespace kvpool::ipc
