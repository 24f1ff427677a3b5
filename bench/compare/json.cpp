// WriteJson: a list of flat objects.
#include <fmt/format.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/compare/bench.h"

namespace kvpool::bench {
namespace {

using Json = nlohmann::ordered_json;

void Put(Json& object, const char* name, const std::optional<double>& value) {
  if (value && std::isfinite(*value)) object[name] = *value;
}

Json ToJson(const Header& header) {
  return {{"commit", header.commit},
          {"config_hash", header.config_hash},
          {"machine", header.machine},
          {"date", header.date}};
}

Json ToJson(const Row& row) {
  Json object = {
      {"bench", row.bench}, {"case", row.case_name}, {"method", row.method}, {"bytes", row.bytes}};
  Put(object, "seconds", row.seconds);
  Put(object, "bytes_per_s", row.bytes_per_s);
  Put(object, "bytes_per_s_min", row.bytes_per_s_min);
  Put(object, "bytes_per_s_max", row.bytes_per_s_max);
  Put(object, "fraction_of_devices", row.fraction_of_devices);
  Put(object, "cpu_s_per_gib", row.cpu_s_per_gib);
  Put(object, "blocked_s", row.blocked_s);
  Put(object, "spin_s", row.spin_s);
  Put(object, "prefix_hit_ratio", row.prefix_hit_ratio);
  Put(object, "layer_ratio", row.layer_ratio);
  Put(object, "expected_bytes_per_s", row.expected_bytes_per_s);
  for (const auto& [name, value] : row.more) Put(object, name.c_str(), value);
  if (!row.note.empty()) object["note"] = row.note;
  return object;
}

}  // namespace

Result<void> WriteJson(const std::filesystem::path& path, const Header& header,
                       std::span<const Row> rows) {
  Json list = Json::array({ToJson(header)});
  for (const Row& row : rows) list.push_back(ToJson(row));
  std::ofstream file(path);
  file << list.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  file.close();
  if (!file) {
    return Fail(Status::kIoError,
                fmt::format("cannot write {}: {}; name a file that you may write to.",
                            path.string(), std::strerror(errno)),
                errno);
  }
  return {};
}

}  // namespace kvpool::bench
