#include "apps/kvpool/outputs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

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
