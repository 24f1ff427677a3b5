#include "python/src/info.h"

#include <pybind11/stl.h>

namespace kvpool::python {
namespace {

namespace py = pybind11;

py::dict DeviceDict(const DeviceInfo& device) {
  py::dict dict;
  dict["name"] = device.name;
  dict["kind"] = device.kind;
  dict["description"] = device.description;
  dict["capacity_bytes"] = device.capacity_bytes;
  dict["used_bytes"] = device.used_bytes;
  dict["read_bytes_per_s"] = device.read_bytes_per_s;
  dict["write_bytes_per_s"] = device.write_bytes_per_s;
  dict["measured_read_bytes_per_s"] = device.measured_read_bytes_per_s;
  dict["measured_write_bytes_per_s"] = device.measured_write_bytes_per_s;
  dict["share"] = device.share;
  dict["bytes_read"] = device.bytes_read;
  dict["bytes_written"] = device.bytes_written;
  dict["bytes_written_ever"] = device.bytes_written_ever;
  dict["write_budget_per_day"] = device.write_budget_per_day;
  dict["write_budget_left"] = device.write_budget_left;
  dict["io_errors"] = device.io_errors;
  dict["checksum_failures"] = device.checksum_failures;
  dict["missed_deadlines"] = device.missed_deadlines;
  dict["transfers_abandoned"] = device.transfers_abandoned;
  dict["state"] = std::string(ToString(device.state));
  dict["state_reason"] = device.state_reason;
  return dict;
}

py::dict GpuDict(const GpuInfo& gpu) {
  py::dict dict;
  dict["name"] = gpu.name;
  dict["kind"] = gpu.kind;
  dict["identity"] = gpu.identity;
  dict["description"] = gpu.description;
  dict["failure"] = gpu.failure;
  return dict;
}

py::dict TenantDict(const TenantInfo& tenant) {
  py::dict dict;
  dict["name"] = tenant.name;
  dict["weight"] = tenant.weight;
  dict["blocks"] = tenant.blocks;
  dict["block_bytes"] = tenant.block_bytes;
  dict["used_bytes"] = tenant.used_bytes;
  dict["quota_bytes"] = tenant.quota_bytes;
  dict["evictions"] = tenant.evictions;
  dict["declined"] = tenant.declined;
  dict["hits"] = tenant.hits;
  dict["misses"] = tenant.misses;
  return dict;
}

}  // namespace

py::dict InfoDict(const PoolInfo& info) {
  py::dict dict;
  dict["name"] = info.name;
  dict["blocks"] = info.blocks;
  dict["block_bytes"] = info.block_bytes;
  dict["evictions"] = info.evictions;
  dict["dirty_bytes"] = info.dirty_bytes;
  dict["declined"] = info.declined;
  dict["blocks_lost_at_open"] = info.blocks_lost_at_open;
  py::list devices;
  for (const DeviceInfo& device : info.devices) devices.append(DeviceDict(device));
  dict["devices"] = devices;
  py::list gpus;
  for (const GpuInfo& gpu : info.gpus) gpus.append(GpuDict(gpu));
  dict["gpus"] = gpus;
  py::list tenants;
  for (const TenantInfo& tenant : info.tenants) tenants.append(TenantDict(tenant));
  dict["tenants"] = tenants;
  dict["lane_thread_ids"] = py::cast(info.lane_thread_ids);
  dict["lane_spin_s"] = py::cast(info.lane_spin_s);
  return dict;
}

}  // namespace kvpool::python
