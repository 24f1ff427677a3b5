// The part of Store that knows spaces: their numbers, who watches their keys, what was asked of
// them.
#include <fmt/format.h>

#include <algorithm>

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

std::uint64_t AskedFor(const SpaceCounts& counts) {
  return counts.hits + counts.misses + counts.stored + counts.declined;
}

}  // namespace

std::uint64_t SpaceDigest(const SpaceSpec& spec) {
  // Lengths are part of the text, so that no two specs run into each other.
  std::string text;
  for (const std::string* field : {&spec.model, &spec.dtype, &spec.layout, &spec.layer_group,
                                   &spec.rank, &spec.engine, &spec.tenant_salt}) {
    text += fmt::format("{}:{};", field->size(), *field);
  }
  text += fmt::format("{}", spec.layers);
  // It came later: what was stored without one still verifies.
  if (!spec.owner.empty()) text += fmt::format(";{}:{}", spec.owner.size(), spec.owner);
  return Digest(text);
}

void Store::KeyWatchers::Appeared(std::uint32_t space, Key key) {
  if (KeyWatcher* watcher = Of(space)) watcher->Appeared(key);
}

void Store::KeyWatchers::Vanished(std::uint32_t space, Key key) {
  if (KeyWatcher* watcher = Of(space)) watcher->Vanished(key);
}

void Store::Share(Space space, std::shared_ptr<KeyWatcher> watcher) {
  MutexLock lock(mutex_);
  auto& by_space = watchers_.by_space;
  if (by_space.size() <= space.id) by_space.resize(space.id + 1);
  by_space[space.id] = std::move(watcher);
  index_.ForEach([&](EntryId entry) {
    const auto view = index_.View(entry);
    if (view.space == space.id) by_space[space.id]->Appeared(view.key);
  });
}

std::uint32_t Store::IdFor(const SpaceSpec& spec) const {
  const std::uint64_t digest = SpaceDigest(spec);
  MutexLock lock(mutex_);
  for (std::size_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].open && spaces_[id].digest == digest) return static_cast<std::uint32_t>(id);
  }
  return static_cast<std::uint32_t>(spaces_.size());
}

void Store::AddSpace(std::uint32_t id, const SpaceSpec& spec) {
  MutexLock lock(mutex_);
  if (id >= spaces_.size()) spaces_.resize(id + 1);
  if (!spaces_[id].open) spaces_[id] = {true, spec, SpaceDigest(spec), 0, TenantOf(spec)};
}

std::vector<std::pair<Space, SpaceSpec>> Store::Spaces() const {
  MutexLock lock(mutex_);
  std::vector<std::pair<Space, SpaceSpec>> open;
  for (std::uint32_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].open) open.emplace_back(Space{id}, spaces_[id].spec);
  }
  return open;
}

bool Store::HasSpace(Space space) const {
  MutexLock lock(mutex_);
  return space.id < spaces_.size() && spaces_[space.id].open;
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
    if (spaces_[id].open) ids.push_back(id);
  }
  const std::size_t shown = std::min(ids.size(), kMostSpacesShown);
  std::nth_element(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shown), ids.end(),
                   [&](std::uint32_t a, std::uint32_t b) {
                     return AskedFor(spaces_[a].counts) > AskedFor(spaces_[b].counts);
                   });
  for (std::size_t i = shown; i < ids.size(); ++i) {
    statistics.other_spaces += spaces_[ids[i]].counts;
  }
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
