#include "apps/kvpool/interrupt.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace kvpool::cli {
namespace {

constexpr std::string_view kPrefix = "kvpool-temporary-";

// Never destroyed: the watching thread may need it while the process is ending.
struct Registry {
  Mutex mutex;
  std::vector<std::filesystem::path> paths KVPOOL_GUARDED_BY(mutex);
  std::vector<std::filesystem::path> parents KVPOOL_GUARDED_BY(mutex);  // the deepest first
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

// What create_directories would make, the deepest first.
std::vector<std::filesystem::path> MissingFolders(std::filesystem::path folder) {
  std::vector<std::filesystem::path> missing;
  std::error_code error;
  for (; !folder.empty() && !std::filesystem::exists(folder, error);
       folder = folder.parent_path()) {
    if (folder.has_filename()) missing.push_back(folder);
  }
  return missing;
}

// A run that was killed cannot remove its folder, and which folders are still in use is not known.
void TellLeftover(const std::filesystem::path& parent) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(parent, error), end; !error && it != end;
       it.increment(error)) {
    if (!it->path().filename().string().starts_with(kPrefix)) continue;
    fmt::print(stderr,
               "note: {0} is left of a run that was killed: unless another kvpool is at work "
               "there, remove it with `rm -r {0}`\n",
               it->path().string());
    return;
  }
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
  RemoveTemporaryPaths();
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

void RemoveTemporaryPaths() {
  const MutexLock lock(Paths().mutex);
  for (const auto& path : Paths().paths) RemoveFromDisk(path);
  for (const auto& path : Paths().parents) rmdir(path.c_str());
}

TemporaryPath::TemporaryPath(std::filesystem::path path) : path_(std::move(path)) { Add(path_); }

TemporaryPath::TemporaryPath(TemporaryPath&& other) noexcept
    : parents_(std::move(other.parents_)), path_(std::move(other.path_)) {
  other.parents_.clear();
  other.path_.clear();
}

TemporaryPath::~TemporaryPath() {
  if (!path_.empty()) {
    RemoveFromDisk(path_);
    Remove(path_);
  }
  RemoveParents();
}

void TemporaryPath::AddParents(std::vector<std::filesystem::path> folders) {
  const MutexLock lock(Paths().mutex);
  parents_ = std::move(folders);
  Paths().parents.insert(Paths().parents.begin(), parents_.begin(), parents_.end());
}

// Only what is empty goes: others may have put something there.
void TemporaryPath::RemoveParents() {
  const MutexLock lock(Paths().mutex);
  for (const auto& parent : parents_) {
    rmdir(parent.c_str());
    std::erase(Paths().parents, parent);
  }
  parents_.clear();
}

void TemporaryPath::Keep() {
  Remove(path_);
  path_.clear();
}

Result<TemporaryPath> TemporaryPath::MakeFolder(const std::filesystem::path& parent) {
  TemporaryPath made;
  made.AddParents(MissingFolders(parent));
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  TellLeftover(parent);
  std::string folder = (parent / (std::string(kPrefix) + "XXXXXX")).string();
  if (error || mkdtemp(folder.data()) == nullptr) {
    const int number = error ? error.value() : errno;
    return Fail(number == ENOSPC ? Status::kNoSpace : Status::kInvalid,
                fmt::format("cannot make a folder in {} ({}): name a folder you may write to",
                            parent.string(), std::strerror(number)),
                number);
  }
  made.path_ = folder;
  Add(made.path_);
  return made;
}

}  // namespace kvpool::cli
