#include "pool/fair_queue.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <deque>
#include <map>
#include <numeric>
#include <vector>

namespace kvpool::pool {
namespace {

constexpr std::uint64_t kPiece = 1 << 20;  // the largest

// What there is in no order but that of arrival: the control.
template <class Item>
class Fifo {
 public:
  bool empty() const { return items_.empty(); }
  void Push(const FlowId& /*flow*/, Item item) { items_.push_back(item); }
  Item& Front() { return items_.front(); }
  void Serve(std::uint64_t /*bytes*/, bool ended) {
    if (ended) items_.pop_front();
  }

 private:
  std::deque<Item> items_;
};

struct Job {
  FlowId flow;
  std::uint64_t left = 0;
  std::uint64_t number = 0;  // in the order of its flow
};
using FlowName = std::pair<std::uint32_t, std::uint64_t>;
FlowName NameOf(const Job& job) { return {job.flow.tenant, job.flow.client}; }

// Serves a queue by pieces, and keeps the books.
template <template <class> class Queue = FairQueue>
class Device {
 public:
  void Add(const FlowId& flow, std::uint64_t bytes) {
    queue_.Push(flow, {flow, bytes, pushed_[{flow.tenant, flow.client}]++});
  }
  // Bytes of the next piece, at most `most`; 0: nothing waits.
  std::uint64_t ServeOne(std::uint64_t most) {
    if (queue_.empty()) return 0;
    Job& job = queue_.Front();
    last_ = job;
    const std::uint64_t bytes = std::min(job.left, most);
    job.left -= bytes;
    served_[NameOf(job)] += bytes;
    queue_.Serve(bytes, job.left == 0);
    return bytes;
  }
  std::uint64_t served(const FlowId& flow) { return served_[{flow.tenant, flow.client}]; }
  std::uint64_t served_of_tenant(std::uint32_t tenant) const {
    std::uint64_t sum = 0;
    for (const auto& [name, bytes] : served_) sum += name.first == tenant ? bytes : 0;
    return sum;
  }
  const Job& last() const { return last_; }
  Queue<Job>& queue() { return queue_; }

 private:
  Queue<Job> queue_;
  std::map<FlowName, std::uint64_t> pushed_, served_;
  Job last_;
};

std::uint64_t AnyPiece() { return *rc::gen::inRange<std::uint64_t>(4096, kPiece + 1); }

template <template <class> class Queue>
double ShareOfTheSmallClient() {
  Device<Queue> device;
  for (int i = 0; i < 100; ++i) device.Add({.client = 1}, 100 * kPiece);
  device.Add({.client = 2}, 100 * kPiece);
  for (int i = 0; i < 200; ++i) device.ServeOne(kPiece);
  return static_cast<double>(device.served({.client = 2})) / (200 * kPiece);
}

TEST(FairQueue, ABacklogDoesNotBuyMoreThanHalf) {
  EXPECT_EQ(ShareOfTheSmallClient<FairQueue>(), 0.5);
  EXPECT_EQ(ShareOfTheSmallClient<Fifo>(), 0) << "the control";
}

TEST(FairQueue, TenantsShareByWeightHoweverManyClientsTheyHave) {
  Device<> device;
  device.Add({.tenant = 1, .tenant_weight = 3, .client = 1}, 1000 * kPiece);
  for (std::uint64_t client = 2; client < 9; ++client) {
    device.Add({.tenant = 2, .tenant_weight = 1, .client = client}, 1000 * kPiece);
  }
  for (int i = 0; i < 400; ++i) device.ServeOne(kPiece);
  EXPECT_NEAR(static_cast<double>(device.served_of_tenant(1)), 300.0 * kPiece, kPiece);
  EXPECT_NEAR(static_cast<double>(device.served({.tenant = 2, .client = 5})), 100.0 / 7 * kPiece,
              kPiece);
}

TEST(FairQueue, WhoWasIdleComesBackLevel) {
  Device<> device;
  device.Add({.client = 1}, 1000 * kPiece);
  device.Add({.client = 2}, kPiece);
  for (int i = 0; i < 500; ++i) device.ServeOne(kPiece);
  device.Add({.client = 2}, 1000 * kPiece);
  const std::uint64_t before = device.served({.client = 2});
  for (int i = 0; i < 100; ++i) device.ServeOne(kPiece);
  EXPECT_EQ(device.served({.client = 2}) - before, 50 * kPiece);
}

// One request at a time buys no more than its share either.
TEST(FairQueue, WhoLeavesForAMomentIsNotForgiven) {
  Device<> device;
  device.Add({.client = 1}, 1000 * kPiece);
  for (int i = 0; i < 200; ++i) {
    if (device.last().flow.client == 2 || i == 0) device.Add({.client = 2}, kPiece);
    device.ServeOne(kPiece);
  }
  EXPECT_NEAR(static_cast<double>(device.served({.client = 2})), 100.0 * kPiece, 2 * kPiece);
}

TEST(FairQueue, ASmallItemPassesAHugeOne) {
  Device<> device;
  device.Add({.client = 1}, 10'000 * kPiece);
  for (int i = 0; i < 10; ++i) device.ServeOne(kPiece);
  device.Add({.client = 2}, 3 * kPiece);
  for (int i = 0; i < 6; ++i) device.ServeOne(kPiece);
  EXPECT_GE(device.served({.client = 2}), 2 * kPiece);
}

TEST(FairQueue, TagsWrapAround) {
  Device<> device;
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 50;  // 64 of these are all tags
  for (const std::uint64_t client : {1, 2}) device.Add({.client = client}, std::uint64_t{1} << 63);
  for (int i = 0; i < 200; ++i) {
    device.ServeOne(kHuge);
    device.ServeOne(kHuge);
    ASSERT_EQ(device.served({.client = 1}), device.served({.client = 2})) << i;
  }
}

TEST(FairQueue, WhatIsErasedIsGoneAndTheOthersGoOn) {
  FairQueue<int> queue;
  for (int i = 0; i < 12; ++i) queue.Push({.tenant = i % 2u, .client = i % 3u}, i);
  queue.EraseIf([](int item) { return item % 2 == 0 || item == 7; });
  std::vector<int> left;
  for (; !queue.empty(); queue.Serve(1, true)) left.push_back(queue.Front());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<int>{1, 3, 5, 9, 11}));
  queue.Push({}, 1);
  queue.EraseIf([](int) { return true; });
  EXPECT_TRUE(queue.empty());
}

TEST(FairQueue, ManyFlowsThatCameAndWentAreForgotten) {
  FairQueue<int> queue;
  for (std::uint64_t client = 0; client < 100'000; ++client) {
    queue.Push({.tenant = static_cast<std::uint32_t>(client / 7), .client = client}, 1);
    queue.Serve(kPiece, true);
    ASSERT_LE(queue.remembered(), 1024u);
  }
}

// The law of start-time fair queueing, for every pair of flows that both wait all along: what each
// was served, by its weight, is never further apart than the largest piece of each.
RC_GTEST_PROP(FairQueueLaws, SharesStayWithinAPieceOfTheWeights, ()) {
  const auto weights =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(1, 1000)));
  Device<> device;
  std::vector<FlowId> flows;
  for (std::size_t tenant = 0; tenant < weights.size(); ++tenant) {
    const auto clients = *rc::gen::inRange<std::uint64_t>(1, 5);
    for (std::uint64_t client = 0; client < clients; ++client) {
      flows.push_back({static_cast<std::uint32_t>(tenant),
                       static_cast<std::uint32_t>(weights[tenant]), client});
      device.Add(flows.back(), std::uint64_t{1} << 60);
    }
  }
  const auto pieces = *rc::gen::inRange(1, 400);
  // Whatever was before: any stretch, not only one from the start.
  for (int i = *rc::gen::inRange(0, 50); i > 0; --i) device.ServeOne(AnyPiece());
  std::vector<double> tenants_before, flows_before;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    tenants_before.push_back(
        static_cast<double>(device.served_of_tenant(static_cast<std::uint32_t>(i))));
  }
  for (const FlowId& flow : flows) flows_before.push_back(static_cast<double>(device.served(flow)));
  for (int i = 0; i < pieces; ++i) device.ServeOne(AnyPiece());
  std::vector<double> by_weight;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto now = static_cast<double>(device.served_of_tenant(static_cast<std::uint32_t>(i)));
    by_weight.push_back((now - tenants_before[i]) / weights[i]);
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      // The tags' rounding is a part in a million of a piece.
      const double bound = 1.0001 * kPiece * (1.0 / weights[i] + 1.0 / weights[j]) + 1;
      RC_ASSERT(std::abs(by_weight[i] - by_weight[j]) <= bound);
    }
  }
  for (std::size_t i = 0; i < flows.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (flows[i].tenant != flows[j].tenant) continue;
      const double one = static_cast<double>(device.served(flows[i])) - flows_before[i];
      const double other = static_cast<double>(device.served(flows[j])) - flows_before[j];
      RC_ASSERT(std::abs(one - other) <= 2.0 * kPiece);
    }
  }
}

// Comings and goings at random: nothing is lost, nothing idles, each flow keeps its order, and
// whoever waits is served before anybody else had more than two pieces by weight meanwhile.
RC_GTEST_PROP(FairQueueLaws, ItIsWorkConservingInOrderAndStarvesNobody, ()) {
  Device<> device;
  std::map<FlowName, std::uint64_t> next, waiting, others_had;
  std::uint64_t left = 0;
  const auto steps = *rc::gen::inRange(1, 600);
  for (int i = 0; i < steps; ++i) {
    if (*rc::gen::inRange(0, 3) == 0) {
      const FlowId flow{*rc::gen::inRange(0u, 4u), 1, *rc::gen::inRange<std::uint64_t>(0, 4)};
      const std::uint64_t bytes = *rc::gen::inRange<std::uint64_t>(1, 8 * kPiece);
      device.Add(flow, bytes);
      left += bytes;
      if (waiting[{flow.tenant, flow.client}]++ == 0) others_had[{flow.tenant, flow.client}] = 0;
      continue;
    }
    const std::uint64_t bytes = device.ServeOne(AnyPiece());
    RC_ASSERT((bytes == 0) == (left == 0));
    if (bytes == 0) continue;
    left -= bytes;
    const FlowName name = NameOf(device.last());
    RC_ASSERT(waiting[name] > 0);
    RC_ASSERT(device.last().number == next[name]);
    for (auto& [other, had] : others_had) had += bytes;
    others_had[name] = 0;
    if (device.last().left <= bytes) {
      ++next[name];
      --waiting[name];
    }
    // 16 flows at most, each two pieces ahead at most.
    for (const auto& [other, had] : others_had) {
      if (waiting[other] > 0) RC_ASSERT(had <= 2 * 16 * 2 * kPiece);
    }
  }
  while (device.ServeOne(kPiece) != 0) {
  }
  RC_ASSERT(device.queue().empty());
}

}  // namespace
}  // namespace kvpool::pool
