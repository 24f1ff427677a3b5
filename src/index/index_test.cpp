#include "index/index.h"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kvpool::index {
namespace {

constexpr layout::BlockShape kShape{
    .block_bytes = 8000, .units = 2, .unit_bytes = 4096, .slot_bytes = 32768};

std::unique_ptr<Index> MakeIndex(std::string_view policy = "lru") {
  return std::make_unique<Index>(*MakeEvictionPolicy(policy));
}

EntryId Put(Index& index, std::string_view key, std::uint32_t space = 1, EntryId parent = kNoEntry,
            std::uint64_t ordinal = 0) {
  const EntryId entry = index.Reserve(
      {.space = space, .key = key, .shape = kShape, .ordinal = ordinal, .parent = parent});
  index.Publish(entry);
  EXPECT_FALSE(index.Unpin(entry));
  return entry;
}

void Remove(Index& index, EntryId entry) {
  ASSERT_TRUE(index.Doom(entry));
  index.Erase(entry);
}

TEST(Index, MatchesTheLeadingRunOfVisibleKeys) {
  auto index = MakeIndex();
  Put(*index, "a");
  Put(*index, "b");
  const EntryId c = index->Reserve({.space = 1, .key = "c", .shape = kShape});
  Put(*index, "d");
  const std::vector<Key> keys{"a", "b", "c", "d"};
  EXPECT_EQ(index->Match(1, keys), 2u);
  index->Publish(c);
  EXPECT_EQ(index->Match(1, keys), 4u);
  EXPECT_EQ(index->size(), 4u);
  EXPECT_EQ(index->Match(2, keys), 0u) << "another space";
}

TEST(Index, AnswersKeyByKey) {
  auto index = MakeIndex();
  Put(*index, "b");
  bool present[2];
  index->Contains(1, std::vector<Key>{"a", "b"}, present);
  EXPECT_FALSE(present[0]);
  EXPECT_TRUE(present[1]);
}

TEST(Index, KeepsWhatWasReserved) {
  auto index = MakeIndex();
  const EntryId parent = Put(*index, "parent");
  const EntryId entry = index->Reserve({.space = 7,
                                        .key = "key",
                                        .shape = kShape,
                                        .generation = 1ull << 60,
                                        .ordinal = 1ull << 50,
                                        .parent = parent});
  ASSERT_EQ(index->View(entry).units.size(), 2u);
  index->View(entry).units[1] = layout::UnitRecord(3, 8192, 99);
  const EntryView view = index->View(entry);
  EXPECT_EQ(view.space, 7u);
  EXPECT_EQ(view.key, "key");
  EXPECT_EQ(view.shape, kShape);
  EXPECT_EQ(view.generation, 1ull << 60);
  EXPECT_EQ(view.ordinal, 1ull << 50);
  EXPECT_EQ(view.parent, parent);
  EXPECT_EQ(view.state, EntryState::kWriting);
  EXPECT_EQ(view.units[0].checksum(), 0u);
  EXPECT_EQ(view.units[1].offset(), 8192u);
  EXPECT_EQ(index->Find(7, "key"), entry) << "a writing entry is found, so nobody writes it twice";
}

TEST(Index, ADoomedEntryLivesUnseenUntilItsLastPin) {
  auto index = MakeIndex();
  const EntryId entry = Put(*index, "a");
  index->Pin(entry);
  index->Pin(entry);
  EXPECT_FALSE(index->Doom(entry));
  EXPECT_EQ(index->Find(1, "a"), kNoEntry);
  EXPECT_EQ(index->size(), 0u);
  const EntryId again = Put(*index, "a");
  EXPECT_NE(again, entry);
  EXPECT_FALSE(index->Unpin(entry));
  EXPECT_EQ(index->View(entry).key, "a");
  EXPECT_TRUE(index->Unpin(entry));
  index->Erase(entry);
  EXPECT_EQ(index->Find(1, "a"), again);
}

TEST(Index, ChildrenOutliveTheirParentAndFindItAgain) {
  auto index = MakeIndex();
  const EntryId a = Put(*index, "a");
  const EntryId b = Put(*index, "b", 1, a, 1);
  const EntryId c = Put(*index, "c", 1, a, 1);
  Remove(*index, a);
  EXPECT_EQ(index->View(b).parent, kNoEntry);
  EXPECT_EQ(index->View(c).parent, kNoEntry);
  const EntryId again = Put(*index, "a");
  index->Reference(b, again);
  EXPECT_EQ(index->View(b).parent, again);
  index->Reference(again, b);
  EXPECT_EQ(index->View(again).parent, kNoEntry) << "no rings";
}

TEST(Index, APinnedEntryIsNoVictimAndComesBack) {
  for (const std::string_view policy : EvictionPolicyNames()) {
    SCOPED_TRACE(policy);
    auto index = MakeIndex(policy);
    const EntryId a = Put(*index, "a");
    const EntryId b = Put(*index, "b");
    index->Pin(a);
    EXPECT_EQ(index->Victim(), b);
    Remove(*index, b);
    EXPECT_EQ(index->Victim(), kNoEntry);
    EXPECT_FALSE(index->Unpin(a));
    EXPECT_EQ(index->Victim(), a);
  }
}

// The index as one would write it without a thought for speed, with plain LRU.
class Model {
 public:
  struct Block {
    EntryId id;
    bool visible = false;
    bool doomed = false;
    int pins = 1;
    std::uint64_t last_use;
    std::string key;
  };

  std::map<EntryId, Block> blocks;
  std::uint64_t now = 0;

  EntryId Find(const std::string& key) const {
    for (const auto& [id, block] : blocks) {
      if (!block.doomed && block.key == key) return id;
    }
    return kNoEntry;
  }
  bool Visible(const std::string& key) const {
    const EntryId id = Find(key);
    return id != kNoEntry && blocks.at(id).visible;
  }
  EntryId Victim() const {
    const Block* oldest = nullptr;
    for (const auto& [id, block] : blocks) {
      if (!block.visible || block.doomed || block.pins > 0) continue;
      if (oldest == nullptr || block.last_use < oldest->last_use) oldest = &block;
    }
    return oldest == nullptr ? kNoEntry : oldest->id;
  }
  std::size_t size() const {
    return static_cast<std::size_t>(std::count_if(blocks.begin(), blocks.end(), [](auto& pair) {
      return pair.second.visible && !pair.second.doomed;
    }));
  }
};

// Applies one random step to both; the laws are checked on the way.
class Twins {
 public:
  explicit Twins(std::string_view policy)
      : lru_(policy == "lru"), chains_(policy == "default"), index_(MakeIndex(policy)) {}

  void Step(int action, std::size_t pick) {
    const std::string key = "key-" + std::to_string(pick % 24);
    switch (action) {
      case 0:
      case 1:
      case 2:
        return Reserve(key, pick);
      case 3:
      case 4:
        return WithSome(pick, [&](auto& block) { Publish(block); });
      case 5:
        return WithSome(pick, [&](auto& block) { Reference(block); });
      case 6:
        return WithSome(pick, [&](auto& block) { Pin(block); });
      case 7:
      case 8:
      case 9:
        return WithSome(pick, [&](auto& block) { Unpin(block); });
      case 10:
        return WithSome(pick, [&](auto& block) { Doom(block); });
      default:
        return Evict();
    }
  }

  void Check() {
    RC_ASSERT(index_->size() == model_.size());
    std::vector<std::string> names;
    for (int i = 0; i < 24; ++i) names.push_back("key-" + std::to_string(i));
    const std::vector<Key> keys(names.begin(), names.end());
    bool present[24];
    index_->Contains(1, keys, present);
    std::size_t run = 24;
    for (std::size_t i = 24; i-- > 0;) {
      RC_ASSERT(present[i] == model_.Visible(names[i]));
      RC_ASSERT(index_->Find(1, names[i]) == model_.Find(names[i]));
      if (!present[i]) run = i;
    }
    RC_ASSERT(index_->Match(1, keys) == run);
    std::size_t seen = 0;
    index_->ForEach([&](EntryId id) { seen += model_.blocks.at(id).visible ? 1u : 0u; });
    RC_ASSERT(seen == model_.size());
    for (const auto& [id, block] : model_.blocks) RC_ASSERT(index_->View(id).key == block.key);
  }

  void DrainByEviction() {
    for (auto& [id, block] : model_.blocks) {
      if (!block.visible && !block.doomed) Publish(block);
    }
    while (!model_.blocks.empty()) {
      const auto pinned = std::find_if(model_.blocks.begin(), model_.blocks.end(),
                                       [](auto& pair) { return pair.second.pins > 0; });
      if (pinned != model_.blocks.end()) {
        Unpin(pinned->second);
      } else {
        const std::size_t before = model_.blocks.size();
        Evict();
        RC_ASSERT(model_.blocks.size() == before - 1);
      }
    }
  }

 private:
  void Reserve(const std::string& key, std::size_t pick) {
    if (model_.Find(key) != kNoEntry) return;
    EntryId parent = kNoEntry;
    WithSome(pick / 24, [&](auto& block) { parent = block.doomed ? kNoEntry : block.id; });
    const std::uint64_t ordinal = parent == kNoEntry ? 0 : index_->View(parent).ordinal + 1;
    const EntryId id = index_->Reserve(
        {.space = 1, .key = key, .shape = kShape, .ordinal = ordinal, .parent = parent});
    RC_ASSERT(model_.blocks.count(id) == 0u);
    model_.blocks[id] = {.id = id, .last_use = ++model_.now, .key = key};
  }
  void Publish(Model::Block& block) {
    if (block.visible || block.doomed) return;
    index_->Publish(block.id);
    block.visible = true;
  }
  void Reference(Model::Block& block) {
    if (block.doomed) return;
    index_->Reference(block.id);
    block.last_use = ++model_.now;
  }
  void Pin(Model::Block& block) {
    index_->Pin(block.id);
    ++block.pins;
  }
  void Unpin(Model::Block& block) {
    const bool last_of_writer = !block.visible && !block.doomed && block.pins == 1;
    if (block.pins == 0 || last_of_writer) return;
    const bool gone = index_->Unpin(block.id);
    --block.pins;
    RC_ASSERT(gone == (block.doomed && block.pins == 0));
    if (gone) EraseBoth(block.id);
  }
  void Doom(Model::Block& block) {
    if (block.doomed) return;
    const bool gone = index_->Doom(block.id);
    RC_ASSERT(gone == (block.pins == 0));
    block.doomed = true;
    if (gone) EraseBoth(block.id);
  }
  void Evict() {
    const EntryId victim = index_->Victim();
    const EntryId expected = model_.Victim();
    RC_ASSERT((victim == kNoEntry) == (expected == kNoEntry));
    if (victim == kNoEntry) return;
    RC_ASSERT(!lru_ || victim == expected);
    if (chains_) CheckNothingFollows(victim);
    Model::Block& block = model_.blocks.at(victim);
    RC_ASSERT(block.visible && !block.doomed && block.pins == 0);
    Doom(block);
  }
  void EraseBoth(EntryId id) {
    index_->Erase(id);
    model_.blocks.erase(id);
  }
  template <class Do>
  void WithSome(std::size_t pick, Do&& act) {
    if (model_.blocks.empty()) return;
    auto at = model_.blocks.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(pick % model_.blocks.size()));
    act(at->second);
  }

  // A chain goes from its end, except for what has lost its beginning.
  void CheckNothingFollows(EntryId victim) {
    const EntryView view = index_->View(victim);
    if (view.parent == kNoEntry && view.ordinal > 0) return;
    for (const auto& [id, block] : model_.blocks) {
      if (!block.visible || block.doomed || block.pins > 0) continue;
      RC_ASSERT(index_->View(id).parent != victim);
    }
  }

  bool lru_;
  bool chains_;
  std::unique_ptr<Index> index_;
  Model model_;
};

RC_GTEST_PROP(IndexProperty, BehavesAsANaiveModel, ()) {
  const auto names = EvictionPolicyNames();
  Twins twins(*rc::gen::elementOf(names));
  const auto steps = *rc::gen::resize(
      400, rc::gen::container<std::vector<std::pair<int, std::size_t>>>(rc::gen::pair(
               rc::gen::inRange(0, 13), rc::gen::inRange<std::size_t>(0, 1'000'000))));
  for (std::size_t i = 0; i < steps.size(); ++i) {
    twins.Step(steps[i].first, steps[i].second);
    if (i % 8 == 0) twins.Check();
  }
  twins.Check();
  twins.DrainByEviction();
}

TEST(Index, GrowsThroughManySplitsAndShrinksAgain) {
  auto index = MakeIndex();
  constexpr int kMany = 200'000;
  std::vector<EntryId> entries;
  for (int i = 0; i < kMany; ++i) entries.push_back(Put(*index, "k" + std::to_string(i)));
  for (int i = 0; i < kMany; i += 2) Remove(*index, entries[static_cast<std::size_t>(i)]);
  EXPECT_EQ(index->size(), kMany / 2u);
  for (int i = 0; i < kMany; ++i) {
    const EntryId found = index->Find(1, "k" + std::to_string(i));
    ASSERT_EQ(found, i % 2 == 0 ? kNoEntry : entries[static_cast<std::size_t>(i)]);
  }
}

}  // namespace
}  // namespace kvpool::index
