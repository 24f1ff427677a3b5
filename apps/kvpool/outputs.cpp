#include "apps/kvpool/outputs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "device/label.h"

namespace kvpool::cli {
namespace {

namespace fs = std::filesystem;

bool IsFile(const NamedFile& file) { return !file.path.empty() && file.path != "-"; }

// Terminals, pipes and /dev/null may be named twice.
bool MayBeShared(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  return fs::is_character_file(status) || fs::is_fifo(status) || fs::is_socket(status);
}

bool SameFile(const fs::path& a, const fs::path& b) {
  if (MayBeShared(a)) return false;
  std::error_code error;
  if (fs::equivalent(a, b, error) && !error) return true;
  const fs::path real_a = fs::weakly_canonical(fs::absolute(a), error);
  if (error) return false;
  const fs::path real_b = fs::weakly_canonical(fs::absolute(b), error);
  return !error && real_a == real_b;
}

tl::unexpected<Error> CannotWrite(const NamedFile& output, int number) {
  return Fail(Status::kInvalid,
              fmt::format("{} cannot write {} ({}): name a file in a folder that exists and that "
                          "you may write to",
                          output.name, output.path.string(), std::strerror(number)),
              number);
}

Result<void> CheckWritable(const NamedFile& output) {
  std::error_code error;
  const fs::file_status status = fs::status(output.path, error);
  if (fs::is_directory(status)) return CannotWrite(output, EISDIR);
  if (fs::exists(status)) {
    if (access(output.path.c_str(), W_OK) == 0) return {};
    return CannotWrite(output, errno);
  }
  if (status.type() != fs::file_type::not_found) return CannotWrite(output, error.value());
  const fs::path folder = output.path.has_parent_path() ? output.path.parent_path() : ".";
  if (!fs::is_directory(folder, error)) return CannotWrite(output, error ? error.value() : ENOTDIR);
  if (!output.path.has_filename()) return CannotWrite(output, EISDIR);
  if (access(folder.c_str(), W_OK | X_OK) != 0) return CannotWrite(output, errno);
  return {};
}

tl::unexpected<Error> Overwrites(const NamedFile& output, const NamedFile& other) {
  return Fail(Status::kInvalid, fmt::format("{} {} would overwrite {}: name another file",
                                            output.name, output.path.string(), other.name));
}

// What a file that is there holds, where a pool needs it; empty: nothing known.
std::string PoolContent(const NamedFile& output) {
  std::error_code error;
  const fs::file_status status = fs::status(output.path, error);
  if (fs::is_block_file(status)) return "a drive";
  if (!fs::is_regular_file(status)) return "";
  std::array<std::byte, device::kLabelBytes> head{};
  std::ifstream file(output.path, std::ios::binary);
  file.read(reinterpret_cast<char*>(head.data()), head.size());
  const auto label = device::DecodeLabel(head, output.path.string());
  if (label || label.error().status != Status::kNotFound) return "a device of a pool";
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.starts_with("SQLite format 3") || text.starts_with("\x37\x7f\x06\x82") ||
      text.starts_with("\x37\x7f\x06\x83")) {
    return "a database, such as a pool's catalog";
  }
  return !output.may_replace_pool_file && Config::Load(output.path) ? "a pool file" : "";
}

}  // namespace

Result<void> CheckOutputs(const std::vector<NamedFile>& outputs,
                          const std::vector<NamedFile>& inputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!IsFile(outputs[i])) continue;
    for (const NamedFile& input : inputs) {
      if (IsFile(input) && SameFile(outputs[i].path, input.path)) {
        return Overwrites(outputs[i], input);
      }
    }
    for (std::size_t k = 0; k < i; ++k) {
      if (IsFile(outputs[k]) && SameFile(outputs[i].path, outputs[k].path)) {
        return Overwrites(outputs[i], {"what " + outputs[k].name + " writes", {}});
      }
    }
    if (auto writable = CheckWritable(outputs[i]); !writable) return writable;
    if (const std::string content = PoolContent(outputs[i]); !content.empty()) {
      return Overwrites(outputs[i], {content, {}});
    }
  }
  return {};
}

std::vector<NamedFile> FilesOf(const fs::path& pool_file, const Config& config) {
  std::vector<NamedFile> files{{"the pool file", pool_file}};
  for (const DeviceConfig& device : config.devices) {
    files.push_back({"the device " + device.name, device.path});
  }
  if (config.catalog.empty()) return files;
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    files.push_back({"the pool's catalog", config.catalog.string() + suffix});
  }
  return files;
}

Result<void> CheckNotItself(const fs::path& pool_file, const Config& config) {
  const std::vector<NamedFile> files = FilesOf(pool_file, config);
  for (const NamedFile& file : std::span(files).subspan(1)) {
    if (!IsFile(file) || !SameFile(file.path, pool_file)) continue;
    return Fail(Status::kInvalid, fmt::format("{} names itself as {}: write another path there",
                                              pool_file.string(), file.name));
  }
  return {};
}

Result<void> CheckUtf8(const fs::path& path) {
  try {
    static_cast<void>(nlohmann::json(path.string()).dump());
    return {};
  } catch (const nlohmann::json::type_error&) {
    // Shown with each foreign byte replaced.
    const std::string shown = nlohmann::json(path.string())
                                  .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return Fail(Status::kInvalid,
                fmt::format("the name {} is not UTF-8, which pool files and results cannot hold: "
                            "rename the folder or the file",
                            shown));
  }
}

}  // namespace kvpool::cli
