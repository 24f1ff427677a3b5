#include "status/status.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace kvpool::status {
namespace {

using Json = nlohmann::json;

// --- the fields of each record, for both ways ---

template <class Io, class T>
void Fields(Io& io, T& latency)
  requires std::same_as<std::remove_const_t<T>, pool::LatencyCounts>
{
  io("counts", latency.counts);
  io("sum_ns", latency.sum_ns);
}

template <class Io, class T>
void Fields(Io& io, T& device)
  requires std::same_as<std::remove_const_t<T>, DeviceInfo>
{
  io("name", device.name);
  io("kind", device.kind);
  io("description", device.description);
  io("state", device.state);
  io("state_reason", device.state_reason);
  io("capacity_bytes", device.capacity_bytes);
  io("used_bytes", device.used_bytes);
  io("read_bytes_per_s", device.measured_read_bytes_per_s);
  io("write_bytes_per_s", device.measured_write_bytes_per_s);
  io("bytes_read", device.bytes_read);
  io("bytes_written", device.bytes_written);
  io("share_wanted", device.share);
  io("io_errors", device.io_errors);
  io("checksum_failures", device.checksum_failures);
  io("missed_deadlines", device.missed_deadlines);
  io("transfers_abandoned", device.transfers_abandoned);
}

template <class Io, class T>
void Fields(Io& io, T& device)
  requires std::same_as<std::remove_const_t<T>, pool::DeviceStatistics>
{
  io("mover_bytes_read", device.mover_bytes_read);
  io("mover_bytes_written", device.mover_bytes_written);
  io("read_latency", device.read_latency);
  io("write_latency", device.write_latency);
  io("transfers_in_flight", device.transfers_in_flight);
  io("units_waiting", device.units_waiting);
  io("share_read", device.share_read);
  io("share_written", device.share_written);
  io("drains", device.drains);
}

template <class Io, class T>
void Fields(Io& io, T& counts)
  requires std::same_as<std::remove_const_t<T>, pool::SpaceCounts>
{
  io("hits", counts.hits);
  io("hit_bytes", counts.hit_bytes);
  io("misses", counts.misses);
  io("stored", counts.stored);
  io("stored_bytes", counts.stored_bytes);
  io("declined", counts.declined);
}

template <class Io, class T>
void Fields(Io& io, T& space)
  requires std::same_as<std::remove_const_t<T>, pool::SpaceStatistics>
{
  io("id", space.id);
  io("model", space.model);
  io("dtype", space.dtype);
  io("layer_group", space.layer_group);
  io("rank", space.rank);
  io("engine", space.engine);
  io("owner", space.owner);
  io("counts", space.counts);
}

template <class Io, class T>
void Fields(Io& io, T& part)
  requires std::same_as<std::remove_const_t<T>, pool::LoggedDevice>
{
  io("device", part.device);
  io("bytes", part.bytes);
  io("end_ns", part.end_ns);
}

template <class Io, class T>
void Fields(Io& io, T& request)
  requires std::same_as<std::remove_const_t<T>, pool::LoggedRequest>
{
  io("space", request.space);
  io("start_ns", request.start_ns);
  io("end_ns", request.end_ns);
  io("bytes", request.bytes);
  io("blocks", request.blocks);
  io("done", request.done);
  io("devices", request.devices);
}

template <class Io, class T>
void Fields(Io& io, T& client)
  requires std::same_as<std::remove_const_t<T>, server::ClientInfo>
{
  io("pid", client.pid);
  io("uid", client.uid);
  io("program", client.program);
  io("since_ns", client.since_ns);
}

template <class Io, class T>
void Fields(Io& io, T& pool)
  requires std::same_as<std::remove_const_t<T>, pool::PoolStatistics>
{
  io("name", pool.info.name);
  io("now_ns", pool.now_ns);
  io("blocks", pool.info.blocks);
  io("block_bytes", pool.info.block_bytes);
  io("dirty_bytes", pool.info.dirty_bytes);
  io("evictions", pool.info.evictions);
  io("declined", pool.info.declined);
  io("spilled_units", pool.spilled_units);
  io("spilled_bytes", pool.spilled_bytes);
  io("spaces", pool.spaces);
  io("other_spaces", pool.other_spaces);
  io("gets", pool.gets);
  io("puts", pool.puts);
}

// --- writing ---

struct Writer {
  Json json = Json::object();

  void operator()(const char* name, const auto& value) { json[name] = Of(value); }

  static Json Of(const std::string& text) { return text; }
  static Json Of(std::integral auto number) { return number; }
  static Json Of(double number) { return number; }
  static Json Of(DeviceState state) { return std::string(ToString(state)); }
  template <class T, std::size_t kCount>
  static Json Of(const std::array<T, kCount>& numbers) {
    return numbers;
  }
  template <class T>
  static Json Of(const std::vector<T>& records) {
    Json list = Json::array();
    for (const T& record : records) list.push_back(Of(record));
    return list;
  }
  template <class T>
  static Json Of(const T& record)
    requires std::is_class_v<T>
  {
    Writer writer;
    Fields(writer, record);
    return std::move(writer.json);
  }
};

// --- reading ---

// What it throws stays in this file.
struct Wrong {};
constexpr std::size_t kMostRecords = 4096;  // of one list

struct Reader {
  const Json& json;

  explicit Reader(const Json& from) : json(from) {
    if (!json.is_object()) throw Wrong();
  }
  void operator()(const char* name, auto& value) {
    const auto found = json.find(name);
    if (found == json.end()) throw Wrong();
    Take(*found, value);
  }

  static void Take(const Json& from, std::string& text) {
    if (!from.is_string()) throw Wrong();
    text = from.get<std::string>();
  }
  template <std::integral T>
  static void Take(const Json& from, T& number) {
    if (!from.is_number_integer()) throw Wrong();
    if (from.is_number_unsigned()) {
      const auto given = from.get<std::uint64_t>();
      if (!std::in_range<T>(given)) throw Wrong();
      number = static_cast<T>(given);
    } else {
      const auto given = from.get<std::int64_t>();
      if (!std::in_range<T>(given)) throw Wrong();
      number = static_cast<T>(given);
    }
  }
  static void Take(const Json& from, double& number) {
    if (!from.is_number()) throw Wrong();
    number = from.get<double>();
  }
  static void Take(const Json& from, DeviceState& state) {
    std::string text;
    Take(from, text);
    for (const DeviceState one : {DeviceState::kServing, DeviceState::kLeaving,
                                  DeviceState::kRemoved, DeviceState::kDrained}) {
      if (ToString(one) != text) continue;
      state = one;
      return;
    }
    throw Wrong();
  }
  template <class T, std::size_t kCount>
  static void Take(const Json& from, std::array<T, kCount>& numbers) {
    if (!from.is_array() || from.size() != kCount) throw Wrong();
    for (std::size_t i = 0; i < kCount; ++i) Take(from[i], numbers[i]);
  }
  template <class T>
  static void Take(const Json& from, std::vector<T>& records) {
    if (!from.is_array() || from.size() > kMostRecords) throw Wrong();
    records.resize(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) Take(from[i], records[i]);
  }
  template <class T>
  static void Take(const Json& from, T& record)
    requires std::is_class_v<T>
  {
    Reader reader(from);
    Fields(reader, record);
  }
};

void CheckDevices(const pool::PoolStatistics& statistics) {
  for (const auto* log : {&statistics.gets, &statistics.puts}) {
    for (const pool::LoggedRequest& request : *log) {
      for (const pool::LoggedDevice& part : request.devices) {
        if (part.device >= statistics.devices.size()) throw Wrong();
      }
    }
  }
}

DaemonStatus Read(const Json& json) {
  DaemonStatus status;
  Reader reader(json);
  reader("version", status.version);
  reader("up_s", status.up_s);
  reader("pool", status.pool);
  reader("clients", status.clients);
  // What a device is and how it fares is one record.
  reader("devices", status.pool.info.devices);
  reader("devices", status.pool.devices);
  if (status.pool.devices.size() > kMaxDevices) throw Wrong();
  CheckDevices(status.pool);
  return status;
}

}  // namespace

std::string ToJson(const DaemonStatus& status) {
  Writer writer;
  writer("version", status.version);
  writer("up_s", status.up_s);
  writer("pool", status.pool);
  writer("clients", status.clients);
  Json& devices = writer.json["devices"] = Json::array();
  for (std::size_t i = 0; i < status.pool.devices.size(); ++i) {
    devices.push_back(Writer::Of(status.pool.info.devices[i]));
    devices.back().update(Writer::Of(status.pool.devices[i]));
  }
  // A name may hold any bytes.
  return writer.json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

Result<DaemonStatus> FromJson(std::string_view json) {
  const Json parsed = Json::parse(json, nullptr, false);
  try {
    if (parsed.is_discarded()) throw Wrong();
    return Read(parsed);
  } catch (const Wrong&) {
    return Fail(Status::kInvalid,
                "the daemon's status makes no sense: use the same kvpool for both");
  }
}

}  // namespace kvpool::status
