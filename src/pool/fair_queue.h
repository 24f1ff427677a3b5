// FairQueue: whose turn it is on a device that several tenants and clients share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pool/flow_id.h"

namespace kvpool::pool {

// Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) in two levels: tenants share what is
// served in proportion to their weights, a tenant's clients alike, whatever each has waiting; and
// what one leaves, the others get. First in, first out within a client.
//
// Served is what Serve is told, afterwards: an item is large and served piece by piece. Two flows
// that both have something waiting are never further apart, each by its weight, than the largest
// piece of each. Who had nothing waiting comes back level with the others: what it did not use is
// not saved up, and what it had too much of is not forgotten while the others are still behind.
//
// Push and Serve take time by the logarithm of how many flows wait, and no memory once flows and
// items were as many as now. Threads: one.
template <class Item>
class FairQueue {
 public:
  bool empty() const { return tenants_.waiting.empty(); }
  std::size_t remembered() const { return flows_; }  // flows, idle ones too

  // The flow's weight is that of its last Push.
  void Push(const FlowId& id, Item item) {
    Tenant& tenant = TenantOf(id.tenant);
    tenant.weight = id.tenant_weight;
    Flow& flow = FlowOf(tenant, id.client);
    Append(flow, std::move(item));
    Enter(tenant, flow);
  }

  // The client of Front has no turn until Resume, nor saves any up. Not empty.
  void HoldBack() {
    auto& tenant = static_cast<Tenant&>(tenants_.First());
    Flow& flow = FirstFlow();
    held_back_.emplace_back(&tenant, &flow);
    tenant.flows.Leave(flow);
    if (tenant.flows.waiting.empty()) tenants_.Leave(tenant);
  }
  void Resume() {
    for (const auto& [tenant, flow] : held_back_) Enter(*tenant, *flow);
    held_back_.clear();
  }
  bool holds_back() const { return !held_back_.empty(); }

  // What is to be served next. Not empty.
  Item& Front() { return entries_[FirstFlow().first].item; }
  const Item& Front() const { return entries_[FirstFlow().first].item; }

  // So many bytes of Front were served; `ended`: it has none left, and goes. Not empty.
  void Serve(std::uint64_t bytes, bool ended) {
    auto& tenant = static_cast<Tenant&>(tenants_.First());
    Flow& flow = FirstFlow();
    if (ended) RemoveFirst(flow);
    tenant.flows.Charge(bytes * kTagsPerByte, flow.first != kNone);
    tenants_.Charge(bytes * kTagsPerByte / tenant.weight, !tenant.flows.waiting.empty());
  }

  // Every item for which `gone` says so goes, wherever it stands. Resumes.
  template <class Predicate>
  void EraseIf(Predicate gone) {
    Resume();
    for (auto& [number, tenant] : all_tenants_) {
      for (auto& [client, flow] : tenant.clients) {
        if (!flow.waits) continue;
        EraseFrom(flow, gone);
        if (flow.first == kNone) tenant.flows.Leave(flow);
      }
      if (tenant.waits && tenant.flows.waiting.empty()) tenants_.Leave(tenant);
    }
  }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::uint64_t kTagsPerByte = 256;  // for weights of up to 1000 to divide
  static constexpr std::size_t kRemembered = 256;     // flows, before idle ones are forgotten

  struct Entry {
    Item item;
    std::uint32_t next;
  };

  struct Node {
    std::uint64_t tag = 0;   // virtual time at which its next piece starts
    std::uint64_t turn = 0;  // among equal tags, who came first
    bool waits = false;
  };

  // Those of one level that wait. Tags may wrap around.
  struct Level {
    std::vector<Node*> waiting;  // a heap
    std::uint64_t now = 0;       // virtual time: the tag of what was served last
    std::uint64_t latest = 0;    // of all tags given
    std::uint64_t turns = 0;

    static bool After(std::uint64_t a, std::uint64_t b) {
      return static_cast<std::int64_t>(a - b) > 0;
    }
    static bool Later(const Node* a, const Node* b) {
      return a->tag != b->tag ? After(a->tag, b->tag) : a->turn > b->turn;
    }

    Node& First() const { return *waiting.front(); }
    void Enter(Node& node) {
      // Beyond `latest` is what is older than half of all numbers.
      if (After(now, node.tag) || After(node.tag, latest)) node.tag = now;
      node.waits = true;
      node.turn = ++turns;
      waiting.push_back(&node);
      std::push_heap(waiting.begin(), waiting.end(), Later);
    }
    void Charge(std::uint64_t tags, bool stays) {
      Node& node = First();
      std::pop_heap(waiting.begin(), waiting.end(), Later);
      now = node.tag;
      node.tag += tags;
      node.turn = ++turns;
      if (After(node.tag, latest)) latest = node.tag;
      if (stays) return std::push_heap(waiting.begin(), waiting.end(), Later);
      waiting.pop_back();
      Left(node);
    }
    void Leave(Node& node) {
      std::erase(waiting, &node);
      std::make_heap(waiting.begin(), waiting.end(), Later);
      Left(node);
    }
    void Left(Node& node) {
      node.waits = false;
      if (waiting.empty()) now = latest;  // nobody is behind any more
    }
    bool MayForget(const Node& node) const { return !node.waits && !After(node.tag, now); }
  };

  struct Flow : Node {
    std::uint32_t first = kNone;
    std::uint32_t last = kNone;
  };
  struct Tenant : Node {
    std::uint32_t weight = 1;
    Level flows;
    std::unordered_map<std::uint64_t, Flow> clients;
  };

  Flow& FirstFlow() const {
    return static_cast<Flow&>(static_cast<Tenant&>(tenants_.First()).flows.First());
  }

  Tenant& TenantOf(std::uint32_t number) {
    const auto known = all_tenants_.find(number);
    return known != all_tenants_.end() ? known->second : all_tenants_[number];
  }

  Flow& FlowOf(Tenant& tenant, std::uint64_t client) {
    const auto known = tenant.clients.find(client);
    if (known != tenant.clients.end()) return known->second;
    if (++flows_ > remembered_) Forget(tenant);
    return tenant.clients[client];
  }

  // Flows that would start level with the others are as good as new ones.
  void Forget(const Tenant& needed) {
    flows_ = 1;
    for (auto tenant = all_tenants_.begin(); tenant != all_tenants_.end();) {
      std::erase_if(tenant->second.clients, [&](const auto& one) {
        return one.second.first == kNone && tenant->second.flows.MayForget(one.second);
      });
      flows_ += tenant->second.clients.size();
      const bool goes = tenant->second.clients.empty() && &tenant->second != &needed &&
                        tenants_.MayForget(tenant->second);
      tenant = goes ? all_tenants_.erase(tenant) : std::next(tenant);
    }
    remembered_ = std::max(kRemembered, 2 * flows_);
  }

  void Enter(Tenant& tenant, Flow& flow) {
    if (!flow.waits) tenant.flows.Enter(flow);
    if (!tenant.waits) tenants_.Enter(tenant);
  }

  void Append(Flow& flow, Item item) {
    std::uint32_t at = free_;
    if (at != kNone) {
      free_ = entries_[at].next;
      entries_[at] = {std::move(item), kNone};
    } else {
      at = static_cast<std::uint32_t>(entries_.size());
      entries_.push_back({std::move(item), kNone});
    }
    (flow.first == kNone ? flow.first : entries_[flow.last].next) = at;
    flow.last = at;
  }

  void Free(std::uint32_t at) {
    entries_[at].next = free_;
    free_ = at;
  }

  void RemoveFirst(Flow& flow) {
    const std::uint32_t at = flow.first;
    flow.first = entries_[at].next;
    Free(at);
  }

  template <class Predicate>
  void EraseFrom(Flow& flow, Predicate& gone) {
    std::uint32_t at = std::exchange(flow.first, kNone);
    while (at != kNone) {
      const std::uint32_t next = entries_[at].next;
      if (gone(entries_[at].item)) {
        Free(at);
      } else {
        (flow.first == kNone ? flow.first : entries_[flow.last].next) = at;
        flow.last = at;
        entries_[at].next = kNone;
      }
      at = next;
    }
  }

  std::unordered_map<std::uint32_t, Tenant> all_tenants_;
  Level tenants_;
  std::vector<std::pair<Tenant*, Flow*>> held_back_;
  std::size_t flows_ = 0;
  std::size_t remembered_ = kRemembered;
  std::vector<Entry> entries_;
  std::uint32_t free_ = kNone;
};

}  // namespace kvpool::pool
