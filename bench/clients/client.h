// Client: one engine's process of the bench, and the other end of it here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/descriptor.h"
#include "bench/compare/bench.h"
#include "kvpool/result.h"

namespace kvpool::bench {

struct ClientPart {
  std::filesystem::path socket;
  std::uint32_t number = 0;
  Geometry geometry;
  std::uint64_t blocks = 0;  // of its context
  std::uint64_t seed = 0;
  std::string run;  // no other run has it: keeps their blocks apart
};

// What a client is told to do. All at once hear it, then all answer.
enum class Order : char {
  kConnect = 'c',
  kPut = 'p',
  kGet = 'g',       // once
  kGetUntil = 'u',  // again and again, through a window of time
  kVerify = 'v',    // what the last get brought
  kDrop = 'd',
};
// CLOCK_MONOTONIC. Gets that began before or ended behind it count by the part that lies in it.
struct Window {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};
struct Figures {
  double bytes = 0;
  double seconds = 0;
  double cpu_s = 0;
};

// Threads: one.
class Client {
 public:
  // Forks. kIoError.
  static Result<Client> Start(const ClientPart& part);
  // Ends the process.
  ~Client();
  Client(Client&& other) noexcept : orders_(std::move(other.orders_)), process_(other.process_) {
    other.process_ = 0;
  }
  Client& operator=(Client&&) = delete;

  void Tell(Order order, Window window = {}) const;
  // The answer to Tell. What the client says went wrong, or kIoError where it is no more.
  Result<Figures> Hear() const;

 private:
  Client(Descriptor orders, pid_t process) : orders_(std::move(orders)), process_(process) {}

  Descriptor orders_;
  pid_t process_;  // 0: none
};

}  // namespace kvpool::bench
