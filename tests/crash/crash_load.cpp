// crash_load: loads a pool until it is killed, and says afterwards what became of it.
//   crash_load load   --pool FILE --log FILE [--tight] [--control early-ack] [--seconds N]
//   crash_load verify --pool FILE --log FILE [--age SECONDS] [--control flip]
// `verify` prints one line of JSON and ends with 1 where bytes were wrong or a promise was broken.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "kvpool/pool.h"
#include "tests/crash/log.h"
#include "tests/crash/verify.h"
#include "tests/crash/worker.h"

namespace kvpool::crash {
namespace {

constexpr std::uint32_t kWorkers = 3;
constexpr std::uint32_t kRoomyContexts = 9;
constexpr std::uint32_t kTightContexts = 64;

struct Options {
  std::string pool;
  std::string log;
  bool tight = false;
  std::string control;
  double seconds = 600;
  double age_s = 10;
};

std::unique_ptr<Pool> OpenPool(const Options& options) {
  const auto config = Config::Load(options.pool);
  auto pool = config ? Pool::Open(*config) : tl::unexpected(config.error());
  if (pool) return std::move(*pool);
  fmt::print(stderr, "crash_load: {}\n", pool.error().message);
  std::exit(2);
}

int RunLoad(const Options& options) {
  const History before = ReadLog(options.log);
  Log log(options.log);
  log.Write(fmt::format("M {}\n", options.tight ? "tight" : "roomy"));
  const auto pool = OpenPool(options);
  const Load load{.contexts = options.tight ? kTightContexts : kRoomyContexts,
                  .hold = options.tight,
                  .age = !options.tight,
                  .early_acknowledgement = options.control == "early-ack"};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < kWorkers; ++i) {
    threads.emplace_back([&, i] {
      Worker worker(*pool, log, before, i, load);
      while (!stop.load()) worker.Step();
    });
  }
  const std::int64_t end = NowMs() + static_cast<std::int64_t>(options.seconds * 1000);
  while (NowMs() < end) {
    log.Write(fmt::format("T {}\n", NowMs()));
    if (!options.tight && pool->info().evictions != 0) {
      fmt::print(stderr, "crash_load: blocks were evicted in a round that should have room\n");
      std::_Exit(3);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int RunVerify(const Options& options) {
  const History history = ReadLog(options.log);
  History met;
  Verdict verdict;
  std::uint64_t lost_at_open = 0;
  {
    const auto pool = OpenPool(options);
    lost_at_open = pool->info().blocks_lost_at_open;
    verdict = Verify(*pool, history,
                     {.age_ms = static_cast<std::int64_t>(options.age_s * 1000),
                      .flip = options.control == "flip"},
                     met);
  }
  WriteNextLog(options.log, history, met);
  fmt::print(
      "{{\"checked\": {}, \"wrong\": {}, \"durable\": {}, \"durable_missing\": {}, \"aged\": {}, "
      "\"aged_warm\": {}, \"torn\": {}, \"lost_at_open\": {}}}\n",
      verdict.checked, verdict.wrong, verdict.durable, verdict.durable_missing, verdict.aged,
      verdict.aged_warm, verdict.torn, lost_at_open);
  return verdict.wrong != 0 || verdict.durable_missing != 0 ? 1 : 0;
}

}  // namespace
}  // namespace kvpool::crash

int main(int argc, char** argv) {
  kvpool::crash::Options options;
  CLI::App app{"Loads a pool until it is killed, and says afterwards what became of it."};
  app.require_subcommand(1);
  CLI::App& load = *app.add_subcommand("load", "Put, get, drop, flush until killed");
  CLI::App& verify = *app.add_subcommand("verify", "Read everything back");
  for (CLI::App* command : {&load, &verify}) {
    command->add_option("--pool", options.pool, "The pool file")->required();
    command->add_option("--log", options.log, "The side log")->required();
  }
  load.add_flag("--tight", options.tight, "More than fits: blocks are evicted all the time");
  load.add_option("--control", options.control, "early-ack: promise what is not durable")
      ->check(CLI::IsMember({"early-ack"}));
  load.add_option("--seconds", options.seconds, "End by itself then");
  verify
      .add_option("--age", options.age_s, "Seconds after which a put should be durable by itself")
      ->capture_default_str();
  verify.add_option("--control", options.control, "flip: a bit of each block is wrong")
      ->check(CLI::IsMember({"flip"}));
  CLI11_PARSE(app, argc, argv);
  return load.parsed() ? kvpool::crash::RunLoad(options) : kvpool::crash::RunVerify(options);
}
