// Blocks of several tenants in one index: each tenant's go by themselves, and fairly beside
// others'.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "index/index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kvpool::index {
namespace {

constexpr layout::BlockShape kShape{
    .block_bytes = 8000, .units = 2, .unit_bytes = 4096, .slot_bytes = 32768};
constexpr std::uint64_t kSlotBytes = 2 * 32768;

std::vector<EvictionGroup> Groups(std::string_view policy,
                                  const std::vector<std::uint32_t>& weights) {
  std::vector<EvictionGroup> groups;
  for (const std::uint32_t weight : weights) {
    groups.emplace_back(*MakeEvictionPolicy(policy), weight);
  }
  return groups;
}

EntryId Put(Index& index, std::uint16_t tenant, const std::string& key, EntryId parent = kNoEntry,
            std::uint64_t ordinal = 0) {
  const EntryId entry = index.Reserve({.space = tenant,
                                       .tenant = tenant,
                                       .key = key,
                                       .shape = kShape,
                                       .ordinal = ordinal,
                                       .parent = parent});
  index.Publish(entry);
  EXPECT_FALSE(index.Unpin(entry));
  return entry;
}

void Evict(Index& index, EntryId victim) {
  ASSERT_NE(victim, kNoEntry);
  ASSERT_TRUE(index.Doom(victim));
  index.Erase(victim);
}

// Chains of up to 6 blocks that are stored, used again and evicted, by chance. Writes down which
// blocks go.
class Traffic {
 public:
  Traffic(Index& index, std::uint16_t tenant, std::uint32_t seed)
      : index_(index), tenant_(tenant), random_(seed) {}

  void Step() {
    if (random_() % 3 == 0 && !keys_.empty()) {
      Use(keys_[random_() % keys_.size()]);
    } else {
      Store();
    }
    while (index_.slot_bytes(tenant_) > 60 * kSlotBytes) {
      const EntryId victim = index_.Victim(tenant_);
      gone.emplace_back(index_.View(victim).key);
      Evict(index_, victim);
    }
  }

  std::vector<std::string> gone;

 private:
  void Use(const std::string& key) {
    const EntryId entry = index_.Find(tenant_, key);
    if (entry != kNoEntry) index_.Reference(entry);
  }
  void Store() {
    const std::uint64_t blocks = 1 + random_() % 6;
    EntryId parent = kNoEntry;
    for (std::uint64_t i = 0; i < blocks; ++i) {
      keys_.push_back("key-" + std::to_string(keys_.size()));
      parent = Put(index_, tenant_, keys_.back(), parent, i);
    }
  }

  Index& index_;
  const std::uint16_t tenant_;
  std::mt19937 random_;
  std::vector<std::string> keys_;
};

class Tenants : public ::testing::TestWithParam<std::string_view> {};

// The index as it was before it knew of tenants: one policy, which knows blocks by their EntryIds.
TEST_P(Tenants, ASingleOnesVictimsAreThePolicys) {
  Index index(*MakeEvictionPolicy(GetParam()));
  const auto policy = *MakeEvictionPolicy(GetParam());
  std::mt19937 random(7);
  std::vector<EntryId> present;
  std::uint64_t stored = 0;
  std::size_t evicted = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 3 == 0 && !present.empty()) {
      const EntryId used = present[random() % present.size()];
      index.Reference(used);
      policy->Reference(used);
    } else {
      const bool chained = random() % 4 != 0 && !present.empty();
      const EntryId parent = chained ? present.back() : kNoEntry;
      const std::uint64_t ordinal = chained ? index.View(parent).ordinal + 1 : 0;
      const std::string key = "key-" + std::to_string(stored++ % 700);
      if (index.Find(0, key) != kNoEntry) continue;
      const EntryId entry = Put(index, 0, key, parent, ordinal);
      policy->Insert(entry, {.hash = XXH64_avalanche(XXH3_64bits(key.data(), key.size())),
                             .ordinal = ordinal,
                             .space = 0,
                             .parent = parent});
      present.push_back(entry);
    }
    while (present.size() > 300) {
      const EntryId victim = index.Victim();
      ASSERT_EQ(victim, policy->Victim()) << "step " << step;
      std::vector<EntryId> children;
      for (const EntryId one : present) {
        if (index.View(one).parent == victim) children.push_back(one);
      }
      ASSERT_LE(children.size(), 1u) << "their order would be the index's own";
      for (const EntryId child : children) policy->Relink(child, kNoEntry);
      policy->Erase(victim, Leaving::kEvicted);
      Evict(index, victim);
      std::erase(present, victim);
      ++evicted;
    }
  }
  EXPECT_GT(evicted, 5000u);
}

// What others do changes nothing about which of its own blocks a tenant loses.
TEST_P(Tenants, EachLosesItsOwnBlocksAsIfItWereAlone) {
  Index alone(Groups(GetParam(), {1, 1, 1}));
  Index shared(Groups(GetParam(), {1, 1, 1}));
  Traffic expected(alone, 1, 3);
  Traffic one(shared, 1, 3);
  Traffic other(shared, 2, 4);
  for (int step = 0; step < 4000; ++step) {
    expected.Step();
    one.Step();
    other.Step();
    if (step % 3 == 0) other.Step();
    ASSERT_EQ(one.gone.size(), expected.gone.size());
  }
  EXPECT_EQ(one.gone, expected.gone);
  EXPECT_NE(one.gone, other.gone);
  EXPECT_GT(one.gone.size(), 1000u);
}

TEST_P(Tenants, AVictimOfOneIsNeverAnothers) {
  Index index(Groups(GetParam(), {1, 1}));
  const EntryId mine = Put(index, 0, "a");
  Put(index, 1, "a");
  index.Pin(mine);
  EXPECT_EQ(index.Victim(0), kNoEntry);
  EXPECT_NE(index.Victim(), mine);
  EXPECT_EQ(index.View(index.Victim(1)).tenant, 1);
  EXPECT_FALSE(index.Unpin(mine));
  EXPECT_EQ(index.Victim(0), mine);
}

// Both store new blocks as fast as they can, and the pool holds 400: by their weights.
TEST_P(Tenants, RoomGoesByWeightWhereAllAreFull) {
  Index index(Groups(GetParam(), {1, 3}));
  for (int i = 0; i < 8000; ++i) {
    Put(index, 0, std::to_string(i));
    Put(index, 1, std::to_string(i));
    while (index.size() > 400) Evict(index, index.Victim());
  }
  const double ratio =
      static_cast<double>(index.slot_bytes(1)) / static_cast<double>(index.slot_bytes(0));
  EXPECT_GT(ratio, 2.5);
  EXPECT_LT(ratio, 3.5);
}

TEST_P(Tenants, AChangedWeightCountsFromThenOn) {
  Index index(Groups(GetParam(), {1, 1}));
  index.SetWeight(1, 3);
  for (int i = 0; i < 8000; ++i) {
    Put(index, 0, std::to_string(i));
    Put(index, 1, std::to_string(i));
    while (index.size() > 400) Evict(index, index.Victim());
  }
  EXPECT_GT(index.slot_bytes(1), 2 * index.slot_bytes(0));
}

// One streams through 30 times as much as the other uses again and again.
TEST_P(Tenants, WhoStreamsPaysForItself) {
  Index index(Groups(GetParam(), {1, 1}));
  std::uint64_t lost = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string key = std::to_string(i % 50);
    const EntryId found = index.Find(0, key);
    if (found != kNoEntry) {
      index.Reference(found);
    } else {
      lost += i >= 50 ? 1 : 0;
      Put(index, 0, key);
    }
    for (int k = 0; k < 30; ++k) Put(index, 1, std::to_string(i * 30 + k));
    while (index.size() > 500) Evict(index, index.Victim());
  }
  EXPECT_LE(lost, 100u) << "of 2950 uses";
}

// ... and who does nothing any more keeps nothing for ever.
TEST_P(Tenants, AnIdleOneGivesWay) {
  Index index(Groups(GetParam(), {1, 1}));
  for (int i = 0; i < 100; ++i) Put(index, 0, std::to_string(i));
  for (int i = 0; i < 20'000; ++i) {
    Put(index, 1, std::to_string(i));
    while (index.size() > 200) Evict(index, index.Victim());
  }
  EXPECT_LE(index.slot_bytes(0), 10 * kSlotBytes);
}

TEST_P(Tenants, EachHoldsWhatItsBlocksOccupyUntilTheyAreErased) {
  Index index(Groups(GetParam(), {1, 1}));
  const EntryId a = Put(index, 0, "a");
  const EntryId b = index.Reserve({.space = 1, .tenant = 1, .key = "b", .shape = kShape});
  EXPECT_EQ(index.slot_bytes(0), kSlotBytes);
  EXPECT_EQ(index.slot_bytes(1), kSlotBytes);
  EXPECT_EQ(index.pinned_slot_bytes(0), 0u);
  EXPECT_EQ(index.pinned_slot_bytes(1), kSlotBytes);
  index.AddCopies(b);
  index.Publish(b);
  index.Pin(a);
  EXPECT_FALSE(index.Doom(a));
  EXPECT_EQ(index.slot_bytes(0), kSlotBytes) << "somebody reads it";
  EXPECT_TRUE(index.Unpin(a));
  EXPECT_EQ(index.slot_bytes(0), kSlotBytes);
  index.Erase(a);
  EXPECT_EQ(index.slot_bytes(0), 0u);
  EXPECT_FALSE(index.Unpin(b));
  EXPECT_EQ(index.slot_bytes(1), kSlotBytes) << "a second place counts for nothing";
  EXPECT_EQ(index.pinned_slot_bytes(1), 0u);
}

INSTANTIATE_TEST_SUITE_P(Policies, Tenants, ::testing::ValuesIn(EvictionPolicyNames()),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace kvpool::index
