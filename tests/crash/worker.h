// Worker: one channel under load, until the process is killed.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kvpool/pool.h"
#include "tests/crash/content.h"
#include "tests/crash/log.h"

namespace kvpool::crash {

struct Load {
  std::uint32_t contexts = 9;  // of a worker
  bool hold = false;           // some durable contexts are kept from eviction
  bool age = false;            // some are put once and left alone, to become durable by themselves
  // A control: what is merely visible is logged as durable, so the check must fail.
  bool early_acknowledgement = false;
};

// Threads: one.
class Worker {
 public:
  Worker(Pool& pool, Log& log, const History& before, std::uint32_t number, const Load& load);

  // One request and what it was told. Ends the process with a sentence where a block comes back
  // with bytes that it should not have.
  void Step();

 private:
  // The keys, versions and bytes of one context.
  struct Context {
    ContextId id;
    std::vector<std::string> names;
    std::vector<Key> keys;
    std::vector<std::uint64_t> last;     // version
    std::vector<std::uint64_t> present;  // version that is there, if it is
    std::vector<bool> durable;
    std::unique_ptr<GetRequest> lease;
    bool ages = false;
    bool put_here = false;  // by this process
  };

  void Put(Context& context, bool durable);
  void LetAge(Context& context);
  void Read(Context& context);
  void Drop(Context& context);
  void Flush(Context& context);
  void Hold(Context& context);
  void LetGo(Context& context);
  void Complete(Request& request);
  void Aim(Context& context);  // segments_ over bytes_
  void Check(const Context& context, std::size_t block, std::span<const std::byte> bytes) const;

  Pool& pool_;
  Log& log_;
  const Load load_;
  std::mt19937_64 random_;
  std::vector<Space> spaces_;
  std::unique_ptr<Channel> channel_;
  std::vector<Context> contexts_;
  std::vector<std::byte> bytes_;
  std::vector<Segment> segments_;
};

}  // namespace kvpool::crash
