#include "python/src/pool_handle.h"

#include <algorithm>
#include <map>

#include "python/src/channel_core.h"
#include "python/src/fork.h"

namespace kvpool::python {
namespace {

// Pools by the path of their file. The mutex is held while a pool opens or closes, so that who
// opens it again waits for its drives to be free; never by a thread with the GIL.
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<SharedPool>> pools;
  std::mutex handles_mutex;  // short
  std::vector<std::weak_ptr<PoolHandle>> handles;
  Uses uses;  // by handles that are not closed; refused when Python exits
};

// Never freed: threads may come here until the process ends. A child starts with its own.
Registry* registry = new Registry;

Result<std::shared_ptr<SharedPool>> OpenShared(const std::filesystem::path& file, bool create) {
  std::error_code failed;
  const auto canonical = std::filesystem::canonical(file, failed);
  // What cannot be found is for Load to say.
  const std::string name = failed ? file.string() : canonical.string();
  const std::lock_guard lock(registry->mutex);
  std::weak_ptr<SharedPool>& known = registry->pools[name];
  if (auto shared = known.lock()) return shared;
  auto config = Config::Load(file);
  if (!config) return tl::unexpected(config.error());
  config->create_if_missing |= create;
  auto pool = Pool::Open(*config);
  if (!pool) return tl::unexpected(pool.error());
  auto shared = std::make_shared<SharedPool>(std::move(*pool), ForkGeneration());
  known = shared;
  return shared;
}

void Remember(const std::shared_ptr<PoolHandle>& handle) {
  const std::lock_guard lock(registry->handles_mutex);
  std::erase_if(registry->handles, [](const auto& one) { return one.expired(); });
  registry->handles.push_back(handle);
}

}  // namespace

SharedPool::SharedPool(std::unique_ptr<Pool> pool, std::uint64_t generation)
    : pool_(std::move(pool)), generation_(generation) {}

SharedPool::~SharedPool() {
  if (generation_ != ForkGeneration()) (void)pool_.release();
}

std::shared_ptr<PoolHandle> PoolHandle::Open(const std::filesystem::path& file, bool create) {
  Result<std::shared_ptr<SharedPool>> shared;
  {
    const UnlockedUse use(registry->uses, "Python is exiting, and kvpool");
    shared = OpenShared(file, create);
    if (shared) registry->uses.EnterAgain();  // the handle's own, until it is closed
  }
  if (!shared) Raise(shared.error());
  auto handle = std::make_shared<PoolHandle>(std::move(*shared));
  Remember(handle);
  return handle;
}

PoolHandle::PoolHandle(std::shared_ptr<SharedPool> shared)
    : shared_(std::move(shared)), generation_(shared_->generation()) {}

PoolHandle::~PoolHandle() {
  Close();
  for (auto& channel : idle_) (void)channel.release();
}

bool PoolHandle::forked() const { return generation_ != ForkGeneration(); }

void PoolHandle::CheckProcess() const {
  if (!forked()) return;
  Raise(Status::kUnsupported,
        "this process was forked from the one that opened the pool, and its threads did not come "
        "along: use the pool in the parent, or start processes by spawn instead of fork");
}

Result<std::unique_ptr<Channel>> PoolHandle::TakeChannel() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto channel = std::move(idle_.back());
      idle_.pop_back();
      return channel;
    }
  }
  return pool().OpenChannel();
}

void PoolHandle::PutBack(std::unique_ptr<Channel> channel) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(channel));
}

void PoolHandle::Add(const std::shared_ptr<ChannelCore>& channel) {
  const std::lock_guard lock(mutex_);
  std::erase_if(channels_, [](const auto& one) { return one.expired(); });
  channels_.push_back(channel);
}

void PoolHandle::Close() {
  if (forked()) return;
  if (!uses_.Refuse()) return AwaitEnd(uses_);
  std::vector<std::weak_ptr<ChannelCore>> channels;
  {
    const std::lock_guard lock(mutex_);
    channels.swap(channels_);
  }
  for (const auto& channel : channels) {
    if (const auto open = channel.lock()) open->Close();
  }
  {
    const py::gil_scoped_release release;
    uses_.AwaitNone();
    idle_.clear();
    const std::lock_guard lock(registry->mutex);
    shared_.reset();
  }
  registry->uses.Leave();
  uses_.End();
}

void AwaitEnd(Uses& uses) {
  if (uses.ended()) return;
  registry->uses.EnterAgain();
  {
    const py::gil_scoped_release release;
    uses.AwaitEnd();
  }
  registry->uses.Leave();
}

void CloseEverything() {
  registry->uses.Refuse();
  std::vector<std::weak_ptr<PoolHandle>> handles;
  {
    const std::lock_guard lock(registry->handles_mutex);
    handles.swap(registry->handles);
  }
  for (const auto& handle : handles) {
    if (const auto open = handle.lock()) open->Close();
  }
  const py::gil_scoped_release release;
  registry->uses.AwaitNone();
}

void PrepareForForks() {
  InEveryChild([] { registry = new Registry; });
}

}  // namespace kvpool::python
