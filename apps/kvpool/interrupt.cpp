#include "apps/kvpool/interrupt.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace kvpool::cli {
namespace {

// Never destroyed: the watching thread may need it while the process is ending.
struct Registry {
  Mutex mutex;
  std::vector<std::filesystem::path> paths KVPOOL_GUARDED_BY(mutex);
};

Registry& Paths() {
  static Registry& registry = *new Registry;
  return registry;
}

void Add(const std::filesystem::path& path) {
  const MutexLock lock(Paths().mutex);
  Paths().paths.push_back(path);
}

void Remove(const std::filesystem::path& path) {
  const MutexLock lock(Paths().mutex);
  std::erase(Paths().paths, path);
}

// Other threads may still be making files in a folder: go on until it stays away.
void RemoveFromDisk(const std::filesystem::path& path) {
  constexpr int kAttempts = 100;
  std::error_code error;
  for (int i = 0; i < kAttempts; ++i) {
    std::filesystem::remove_all(path, error);
    if (!std::filesystem::exists(path, error)) return;
  }
}

sigset_t Interrupts() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

[[noreturn]] void EndBy(int signal) {
  {
    const MutexLock lock(Paths().mutex);
    for (const auto& path : Paths().paths) RemoveFromDisk(path);
  }
  std::signal(signal, SIG_DFL);
  sigset_t set = Interrupts();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  raise(signal);
  _exit(128 + signal);
}

}  // namespace

void CatchInterrupts() {
  sigset_t set = Interrupts();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([set] {
    int signal = 0;
    if (sigwait(&set, &signal) == 0) EndBy(signal);
  }).detach();
}

TemporaryPath::TemporaryPath(std::filesystem::path path) : path_(std::move(path)) { Add(path_); }

TemporaryPath::TemporaryPath(TemporaryPath&& other) noexcept : path_(std::move(other.path_)) {
  other.path_.clear();
}

TemporaryPath::~TemporaryPath() {
  if (path_.empty()) return;
  RemoveFromDisk(path_);
  Remove(path_);
}

void TemporaryPath::Keep() {
  Remove(path_);
  path_.clear();
}

Result<TemporaryPath> TemporaryPath::MakeFolder(const std::filesystem::path& parent) {
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  std::string folder = (parent / "kvpool-temporary-XXXXXX").string();
  if (error || mkdtemp(folder.data()) == nullptr) {
    const int number = error ? error.value() : errno;
    return Fail(number == ENOSPC ? Status::kNoSpace : Status::kInvalid,
                fmt::format("cannot make a folder in {} ({}): name a folder you may write to",
                            parent.string(), std::strerror(number)),
                number);
  }
  return TemporaryPath(folder);
}

}  // namespace kvpool::cli
