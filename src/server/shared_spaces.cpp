#include "server/shared_spaces.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/resource.h>

namespace kvpool::server {

class SharedSpace::Keys final : public pool::KeyWatcher {
 public:
  explicit Keys(std::unique_ptr<ipc::PresenceWriter> writer) : writer_(std::move(writer)) {}

  void Appeared(Key key) override {
    MutexLock lock(mutex_);
    writer_->Add(key);
  }
  void Vanished(Key key) override {
    MutexLock lock(mutex_);
    writer_->Remove(key);
  }
  std::shared_ptr<ipc::SharedTable> table() {
    std::shared_ptr<ipc::SharedTable> former;  // goes last: the pool's lanes may wait for the lock
    MutexLock lock(mutex_);
    former = writer_->TakeFormer();
    return writer_->table();
  }

 private:
  Mutex mutex_;
  const std::unique_ptr<ipc::PresenceWriter> writer_ KVPOOL_GUARDED_BY(mutex_);
};

SharedSpace::~SharedSpace() {
  if (keys_) pool_.StopSharing(space_, *keys_);
  pool_.CloseSpace(space_);
}

Result<std::shared_ptr<ipc::SharedTable>> SharedSpace::Table() {
  MutexLock lock(mutex_);
  if (!keys_) {
    // Nobody can choose keys that crowd a table without having seen it.
    std::uint64_t seed = 0;
    [[maybe_unused]] const ssize_t got = ::getrandom(&seed, sizeof seed, 0);
    auto writer = ipc::PresenceWriter::Make(seed, pool_.BlocksOf(space_));
    if (!writer) return tl::unexpected(writer.error());
    keys_ = std::make_shared<Keys>(std::move(*writer));
    pool_.ShareSpace(space_, keys_);
  }
  auto table = keys_->table();
  if (table) return table;
  return Fail(Status::kNoSpace, "there is no shared memory for a space's keys: free some");
}

std::size_t SharedSpaces::MostByDescriptors() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 4 : 256;
}

Result<std::shared_ptr<SharedSpace>> SharedSpaces::Open(const SpaceSpec& spec,
                                                        const ClientTenant& tenant) {
  MutexLock lock(mutex_);
  auto opened = OpenLocked(spec);
  if (!opened || descriptors_ == nullptr) return opened;
  const std::pair place{tenant.number, (*opened)->space().id};
  const auto there = held_.find(place);
  auto held = there == held_.end() ? nullptr : there->second.lock();
  if (!held) {
    auto descriptor = descriptors_->Take(tenant, DescriptorShares::kOfSpace);
    if (!descriptor) return tl::unexpected(descriptor.error());
    held = std::make_shared<Held>(Held{*opened, std::move(*descriptor)});
    std::erase_if(held_, [](const auto& one) { return one.second.expired(); });
    held_[place] = held;
  }
  return std::shared_ptr<SharedSpace>(held, held->shared.get());
}

Result<std::shared_ptr<SharedSpace>> SharedSpaces::OpenLocked(const SpaceSpec& spec) {
  const auto space = pool_.OpenSpace(spec);
  if (!space) return tl::unexpected(space.error());
  const auto there = open_.find(space->id);
  if (auto shared = there == open_.end() ? nullptr : there->second.lock()) {
    pool_.CloseSpace(*space);  // it has an opening of its own
    return shared;
  }
  std::erase_if(open_, [](const auto& one) { return one.second.expired(); });
  if (open_.size() >= most_) {
    pool_.CloseSpace(*space);
    return Fail(
        Status::kNoSpace,
        fmt::format("clients have {} spaces open, and the daemon takes no more: close some, "
                    "or raise its limit of open files (LimitNOFILE)",
                    most_));
  }
  auto opened = std::make_shared<SharedSpace>(pool_, *space);
  open_[space->id] = opened;
  return opened;
}

}  // namespace kvpool::server
