// Oracle: what every key may hold. Each put of a key is a version with bytes of its own, so that
// old bytes show as such.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvpool/request.h"
#include "tests/sim/random.h"

namespace kvpool::sim {

using Order = std::uint64_t;  // of what was submitted, over all clients

struct Version {
  enum class State : std::uint8_t {
    kWriting,  // its put is not back
    kThere,    // put, or found after a crash
    kMaybe,    // a crash may have kept it or not
    kNever,    // refused, failed or gone for good
  };
  std::uint64_t base = 0;  // of its bytes
  std::uint32_t bytes = 0;
  State state = State::kWriting;
  bool durable = false;   // acknowledged to survive a crash
  bool required = false;  // has to be there after the crash that was
  Order submitted = 0;
  Order gone = ~Order{0};  // no get submitted after it may find the version
};

struct KeyRecord {
  std::uint32_t space = 0;
  std::string name;
  std::vector<Version> versions;
};

// Writes the bytes of a version into segments, one after the other.
void FillContent(std::uint64_t base, std::span<const Segment> segments);
// Of bytes that FillContent wrote, at least 8: the base.
std::uint64_t BaseOf(std::span<const Segment> segments, std::uint64_t bytes);
bool HasContent(std::uint64_t base, std::span<const Segment> segments, std::uint64_t bytes);

// Threads: one.
class Oracle {
 public:
  explicit Oracle(std::uint64_t seed) : seed_(seed) {}

  std::uint32_t AddKey(std::uint32_t space, std::string name);
  const KeyRecord& key(std::uint32_t key) const { return keys_[key]; }
  std::size_t size() const { return keys_.size(); }

  Order NextOrder() { return ++order_; }

  // --- puts ---
  std::uint32_t BeginPut(std::uint32_t key, std::uint32_t bytes, Order order);
  // `maybe`: the put failed, but what it wrote may be there.
  void EndPut(std::uint32_t key, std::uint32_t version, bool ok, bool maybe, bool durable);
  // --- drops ---
  void Dropped(std::uint32_t key, Order order);
  // --- flushes ---
  // The only version that a request submitted now would see; none if several might be.
  std::optional<std::uint32_t> Current(std::uint32_t key) const;
  void Durable(std::uint32_t key, std::uint32_t version) {
    keys_[key].versions[version].durable = true;
  }
  // All that was submitted before `order` and changed the index is recorded.
  void Recorded(Order order) { recorded_ = std::max(recorded_, order); }

  // --- gets ---
  // Empty if a get, from `submitted` to now, may have found these bytes; else what is wrong.
  std::string Judge(std::uint32_t key, std::span<const Segment> segments, std::uint64_t bytes,
                    Order submitted, std::uint32_t* version) const;

  // --- crashes ---
  // `present(key)`: the pool knew it at that moment. `keeps`: what was durable is. `clean`: so is
  // all the rest.
  template <class Present>
  void Crash(bool keeps, bool clean, Present&& present) {
    for (std::uint32_t key = 0; key < keys_.size(); ++key) {
      Require(key, keeps, keeps && present(key), clean);
      Resurrect(keys_[key]);
    }
  }
  // Which version has to be there, after a crash.
  std::optional<std::uint32_t> Required(std::uint32_t key) const;
  // It lies on a drive that is away: it need not be there until Wake, which asks for it again
  // unless another has been put meanwhile.
  void Sleep(std::uint32_t key);
  void Wake(std::uint32_t key, std::uint32_t version);
  // A drive has failed, and with it second places of what was durable.
  void DoubtDurable();
  // What a look at the restarted pool has shown: this version, or none, and no other.
  void Found(std::uint32_t key, std::optional<std::uint32_t> version);

 private:
  void Require(std::uint32_t key, bool keeps, bool present, bool clean);
  void Resurrect(KeyRecord& key) const;

  const std::uint64_t seed_;
  Order order_ = 0;
  Order recorded_ = 0;
  std::vector<KeyRecord> keys_;
};

}  // namespace kvpool::sim
