#include "catalog/unfinished.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>

#include "catalog/sqlite.h"

namespace kvpool::catalog {
namespace {

constexpr std::array kCompanions{"-wal", "-shm", "-journal"};

tl::unexpected<Error> CannotMake(const std::filesystem::path& path, int code) {
  return Fail(Status::kInvalid,
              fmt::format("{}: the catalog cannot be made here ({}): {}", path.string(),
                          std::strerror(code), AdviceFor(code)),
              code);
}

void RemoveWithCompanions(const std::string& path) {
  if (path.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  for (const char* suffix : kCompanions) std::filesystem::remove(path + suffix, ignored);
}

}  // namespace

Result<void> CheckVacant(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::symlink_status(path, ignored).type() >
      std::filesystem::file_type::not_found) {
    return Fail(Status::kExists,
                fmt::format("{}: a file is there already: remove it or name another catalog",
                            path.string()),
                EEXIST);
  }
  for (const char* suffix : kCompanions) {
    const std::string companion = path.string() + suffix;
    if (!std::filesystem::exists(std::filesystem::symlink_status(companion, ignored))) continue;
    return Fail(Status::kExists,
                fmt::format("{}: this file would belong to the new catalog {} and is there "
                            "already: remove it or name another catalog",
                            companion, path.string()),
                EEXIST);
  }
  return {};
}

Unfinished::~Unfinished() {
  RemoveWithCompanions(made_);
  RemoveWithCompanions(kept_ ? "" : published_);
}

Result<void> Unfinished::Make() {
  std::random_device random;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const std::string name =
        fmt::format("{}.{:08x}{:08x}.new", becomes_.string(), random(), random());
    const int fd = open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return CannotMake(becomes_, errno);
    close(fd);
    made_ = name;
    return {};
  }
  return CannotMake(becomes_, EEXIST);
}

Result<void> Unfinished::Publish() {
  int failed = renameat2(AT_FDCWD, made_.c_str(), AT_FDCWD, becomes_.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {
    failed = link(made_.c_str(), becomes_.c_str());
  }
  if (failed != 0) return CannotMake(becomes_, errno);
  published_ = becomes_.string();
  return SyncFolder();
}

Result<void> Unfinished::SyncFolder() const {
  const std::filesystem::path folder = becomes_.has_parent_path() ? becomes_.parent_path() : ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return CannotMake(becomes_, errno);
  const int code = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (code != 0) return CannotMake(becomes_, code);
  return {};
}

}  // namespace kvpool::catalog
