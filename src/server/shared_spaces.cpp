#include "server/shared_spaces.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/resource.h>

namespace kvpool::server {

// Kept by the pool, too, which writes it under its own lock.
class SharedSpaces::Table final : public pool::KeyWatcher {
 public:
  explicit Table(std::unique_ptr<ipc::PresenceWriter> writer) : writer_(std::move(writer)) {}

  void Appeared(Key key) override {
    MutexLock lock(mutex_);
    writer_->Add(key);
  }
  void Vanished(Key key) override {
    MutexLock lock(mutex_);
    writer_->Remove(key);
  }
  std::shared_ptr<ipc::SharedTable> table() {
    MutexLock lock(mutex_);
    return writer_->table();
  }

 private:
  Mutex mutex_;
  const std::unique_ptr<ipc::PresenceWriter> writer_ KVPOOL_GUARDED_BY(mutex_);
};

std::size_t SharedSpaces::MostByDescriptors() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 4 : 256;
}

Result<std::shared_ptr<ipc::SharedTable>> SharedSpaces::TableOf(Space space) {
  MutexLock lock(mutex_);
  if (tables_.size() >= most_ && !tables_.contains(space.id)) {
    return Fail(
        Status::kNoSpace,
        fmt::format("clients have opened {} spaces, and the daemon takes no more: raise its "
                    "limit of open files (LimitNOFILE), and start it again",
                    most_));
  }
  auto& shared = tables_[space.id];
  if (!shared) {
    // Nobody can choose keys that crowd a table without having seen it.
    std::uint64_t seed = 0;
    [[maybe_unused]] const ssize_t got = ::getrandom(&seed, sizeof seed, 0);
    auto writer = ipc::PresenceWriter::Make(seed);
    if (!writer) return tl::unexpected(writer.error());
    shared = std::make_shared<Table>(std::move(*writer));
    pool_.ShareSpace(space, shared);
  }
  auto table = shared->table();
  if (table) return table;
  return Fail(Status::kNoSpace, "there is no shared memory for a space's keys: free some");
}

}  // namespace kvpool::server
