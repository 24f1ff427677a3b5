// The part of Store that knows spaces: their numbers, who watches their keys, what was asked of
// them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "base/checksum.h"
#include "pool/store.h"

namespace kvpool::pool {

using index::EntryId;

namespace {

// A client may say anything in a text, and others show it.
std::string Shown(const std::string& text) {
  std::string shown = text.substr(0, kMostSpaceTextShown);
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

// Lengths are part of it, so that no two specs run into each other.
std::string TextOf(const SpaceSpec& spec) {
  std::string text;
  for (const std::string* field : {&spec.model, &spec.dtype, &spec.layout, &spec.layer_group,
                                   &spec.rank, &spec.engine, &spec.tenant_salt}) {
    text += fmt::format("{}:{};", field->size(), *field);
  }
  text += fmt::format("{}", spec.layers);
  // It came later: what was stored without one still verifies.
  if (!spec.owner.empty()) text += fmt::format(";{}:{}", spec.owner.size(), spec.owner);
  return text;
}

std::uint64_t AskedFor(const SpaceCounts& counts) {
  return counts.hits + counts.misses + counts.stored + counts.declined;
}

}  // namespace

std::uint64_t SpaceDigest(const SpaceSpec& spec) { return Digest(TextOf(spec)); }

void Store::KeyWatchers::Appeared(std::uint32_t space, Key key) {
  if (KeyWatcher* watcher = Of(space)) watcher->Appeared(key);
}

void Store::KeyWatchers::Vanished(std::uint32_t space, Key key) {
  if (KeyWatcher* watcher = Of(space)) watcher->Vanished(key);
}

void Store::Share(Space space, std::shared_ptr<KeyWatcher> watcher) {
  KeyWatcher& told = *watcher;
  {
    MutexLock lock(mutex_);
    auto& by_space = watchers_.by_space;
    if (by_space.size() <= space.id) by_space.resize(space.id + 1);
    by_space[space.id] = std::move(watcher);
    spaces_[space.id].shared = true;
    if (spaces_[space.id].entries == 0) return;
  }
  // At once: others wait no longer. But they are only woken where the lock is let go of, and find
  // it taken again unless it is left alone for a while.
  constexpr EntryId kLookedAt = 1024;
  constexpr std::chrono::microseconds kForOthers{100};
  for (EntryId from = 0; from != index::kNoEntry;) {
    if (from != 0) std::this_thread::sleep_for(kForOthers);
    MutexLock lock(mutex_);
    from = index_.ForSome(from, kLookedAt, [&](EntryId entry) {
      const auto view = index_.View(entry);
      if (view.space == space.id) told.Appeared(view.key);
    });
  }
}

void Store::StopSharing(Space space, const KeyWatcher& watcher) {
  MutexLock lock(mutex_);
  auto& watching = watchers_.by_space[space.id];
  if (watching.get() == &watcher) watching = nullptr;
}

std::uint32_t Store::IdFor(const SpaceSpec& spec) const {
  const std::string text = TextOf(spec);
  const std::uint64_t digest = Digest(text);
  MutexLock lock(mutex_);
  // A digest alone would let a stranger's text pass for another's.
  const auto same = std::find_if(spaces_.begin(), spaces_.end(), [&](const SpaceState& space) {
    return space.known && space.digest == digest && TextOf(space.spec) == text;
  });
  const auto free = std::find_if(spaces_.begin(), spaces_.end(),
                                 [](const SpaceState& space) { return !space.known; });
  return static_cast<std::uint32_t>((same != spaces_.end() ? same : free) - spaces_.begin());
}

void Store::AddSpace(std::uint32_t id, const SpaceSpec& spec) {
  MutexLock lock(mutex_);
  AddSpaceLocked(id, spec);
}

SpaceState& Store::AddSpaceLocked(std::uint32_t id, const SpaceSpec& spec) {
  if (id >= spaces_.size()) spaces_.resize(id + 1);
  SpaceState& space = spaces_[id];
  if (space.known) return space;
  space.known = true;
  space.spec = spec;
  space.digest = SpaceDigest(spec);
  space.tenant = TenantOf(spec);
  return space;
}

std::uint32_t Store::Owner(Space space) const {
  MutexLock lock(mutex_);
  return OwnerOf(space.id, spaces_[space.id].tenant);
}

void Store::OpenSpace(std::uint32_t id, const SpaceSpec& spec) {
  MutexLock lock(mutex_);
  AddSpaceLocked(id, spec).opened += 1;
}

void Store::CloseSpace(Space space) {
  MutexLock lock(mutex_);
  KVPOOL_CHECK(spaces_[space.id].opened > 0);
  spaces_[space.id].opened -= 1;
  LookWhetherIdle(space.id);
}

EntryId Store::ReserveEntry(const index::NewEntry& entry) {
  spaces_[entry.space].entries += 1;
  return index_.Reserve(entry);
}

void Store::EraseEntry(EntryId entry) {
  const std::uint32_t space = index_.View(entry).space;
  index_.Erase(entry);
  spaces_[space].entries -= 1;
  LookWhetherIdle(space);
}

void Store::LookWhetherIdle(std::uint32_t space) {
  SpaceState& state = spaces_[space];
  const std::uint64_t since = recordings_ + 1;
  if (!IsIdle(state) || state.idle_since == since) return;
  state.idle_since = since;
  idle_.push_back({space, since});
}

std::vector<std::uint32_t> Store::IdleSpaces() {
  MutexLock lock(mutex_);
  const auto recorded = [&](const Idle& idle) { return idle.since <= recordings_; };
  std::erase_if(idle_, [&](const Idle& idle) {
    const SpaceState& state = spaces_[idle.space];
    const bool is_so = state.known && IsIdle(state) && state.idle_since == idle.since;
    return recorded(idle) && (!is_so || state.kept);
  });
  std::vector<std::uint32_t> spaces;
  for (const Idle& idle : idle_) {
    if (!recorded(idle) || idle_.size() - spaces.size() <= kMostIdleSpaces) break;
    spaces.push_back(idle.space);
  }
  return spaces;
}

void Store::RemoveSpaces(std::span<const std::uint32_t> spaces) {
  for (const std::uint32_t id : spaces) {
    const std::uint32_t owner = Owner(Space{id});
    for (const auto& slot : devices_) slot->device->ForgetOwner(owner);
  }
  MutexLock lock(mutex_);
  for (const std::uint32_t id : spaces) {
    KVPOOL_CHECK(IsIdle(spaces_[id]));
    tenants_[spaces_[id].tenant].gone += spaces_[id].counts;
    spaces_[id] = {};
  }
}

std::vector<std::pair<Space, SpaceSpec>> Store::Spaces() const {
  MutexLock lock(mutex_);
  std::vector<std::pair<Space, SpaceSpec>> open;
  for (std::uint32_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].known) open.emplace_back(Space{id}, spaces_[id].spec);
  }
  return open;
}

bool Store::HasSpace(Space space) const {
  MutexLock lock(mutex_);
  return space.id < spaces_.size() && spaces_[space.id].known;
}

std::uint32_t Store::LayersOf(Space space) const {
  MutexLock lock(mutex_);
  return spaces_[space.id].spec.layers;
}

SpaceCounts& SpaceCounts::operator+=(const SpaceCounts& other) {
  hits += other.hits;
  hit_bytes += other.hit_bytes;
  misses += other.misses;
  stored += other.stored;
  stored_bytes += other.stored_bytes;
  declined += other.declined;
  return *this;
}

void Store::CountSpaces(PoolStatistics& statistics) const {
  MutexLock lock(mutex_);
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].known) ids.push_back(id);
  }
  const std::size_t shown = std::min(ids.size(), kMostSpacesShown);
  std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shown), ids.end(),
                   [&](std::uint32_t a, std::uint32_t b) {
                     return AskedFor(spaces_[a].counts) > AskedFor(spaces_[b].counts);
                   });
  for (std::size_t i = shown; i < ids.size(); ++i) {
    statistics.other_spaces += spaces_[ids[i]].counts;
  }
  for (const Tenant& tenant : tenants_) statistics.other_spaces += tenant.gone;
  ids.resize(shown);
  std::sort(ids.begin(), ids.end());
  for (const std::uint32_t id : ids) {
    const SpaceSpec& spec = spaces_[id].spec;
    statistics.spaces.push_back({.id = id,
                                 .model = Shown(spec.model),
                                 .dtype = Shown(spec.dtype),
                                 .layer_group = Shown(spec.layer_group),
                                 .rank = Shown(spec.rank),
                                 .engine = Shown(spec.engine),
                                 .owner = Shown(spec.owner),
                                 .counts = spaces_[id].counts});
  }
}

}  // namespace kvpool::pool
