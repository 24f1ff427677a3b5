// kvpool_sim: runs seeds of the simulator and says what went wrong. docs/testing.md.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/sim/simulation.h"

namespace kvpool::sim {
namespace {

constexpr int kMostFailures = 5;
constexpr int kSlowSeconds = 120;  // of one seed

struct Options {
  SimOptions sim;
  std::uint64_t first = 1;
  std::uint64_t seeds = 200;
  std::uint32_t jobs = 0;
  bool one = false;  // a single seed, here and not in a process of its own
  // Something is broken on purpose: find it, by wrong bytes or by anything.
  enum class Control : std::uint8_t { kNone, kWrongBytes, kAny } control = Control::kNone;
  bool replay = false;  // every seed twice, and the same
};

// What a seed came to, small enough for one write to a pipe.
struct Line {
  std::uint64_t seed = 0;
  std::uint64_t requests = 0;
  std::uint64_t crashes = 0;
  std::array<std::uint32_t, 4> failures{};  // by Failure
  char text[256] = {};                      // of the first one
};

Line RunSeed(std::uint64_t seed, const Options& options) {
  Line line;
  line.seed = seed;
  const Outcome outcome = Simulation(seed, options.sim).Run();
  line.requests = outcome.requests;
  line.crashes = outcome.crashes;
  for (const auto& failed : outcome.failed) ++line.failures[static_cast<std::size_t>(failed.kind)];
  std::string text = outcome.failed.empty() ? "" : outcome.failed.front().text;
  if (options.replay && Simulation(seed, options.sim).Run().digest != outcome.digest) {
    ++line.failures[static_cast<std::size_t>(Failure::kOther)];
    text = "a second run of the seed went another way";
  }
  text.copy(line.text, sizeof line.text - 1);
  return line;
}

// One process works on seeds first + n * step; what aborts takes its process only.
struct Worker {
  pid_t process = -1;
  int from = -1;
  std::uint64_t next = 0;  // the seed that it works on
  bool done = false;
};

void StartWorker(Worker& worker, const Options& options, std::uint64_t step) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  std::fflush(stdout);
  worker.process = ::fork();
  if (worker.process == 0) {
    ::close(ends[0]);
    for (std::uint64_t seed = worker.next; seed < options.first + options.seeds; seed += step) {
      ::alarm(kSlowSeconds);
      const Line line = RunSeed(seed, options);
      if (::write(ends[1], &line, sizeof line) != sizeof line) ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  worker.from = ends[0];
}

// The next result of a worker; none: it has done its seeds. An abort is a result, too.
std::optional<Line> Next(Worker& worker, const Options& options, std::uint64_t step) {
  if (worker.done) return std::nullopt;
  Line line;
  if (::read(worker.from, &line, sizeof line) == sizeof line) {
    worker.next = line.seed + step;
    return line;
  }
  ::close(worker.from);
  int status = 0;
  ::waitpid(worker.process, &status, 0);
  if (worker.next >= options.first + options.seeds) {
    worker.done = true;
    return std::nullopt;
  }
  line.seed = worker.next;
  const bool slow = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  ++line.failures[static_cast<std::size_t>(slow ? Failure::kHang : Failure::kOther)];
  std::strcpy(line.text, slow ? "the seed does not end" : "the process died");
  worker.next += step;
  StartWorker(worker, options, step);
  return line;
}

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t requests = 0;
  std::uint64_t crashes = 0;
  std::array<std::uint64_t, 4> failures{};
  std::uint64_t failed_seeds = 0;
  std::uint64_t first_wrong = 0;  // the lowest seed that failed
};

void Count(const Line& line, const Options& options, Totals& totals) {
  ++totals.seeds;
  totals.requests += line.requests;
  totals.crashes += line.crashes;
  bool failed = false;
  for (std::size_t i = 0; i < line.failures.size(); ++i) {
    totals.failures[i] += line.failures[i];
    failed |= line.failures[i] != 0;
  }
  const bool wrong = line.failures[static_cast<std::size_t>(Failure::kWrongBytes)] != 0;
  if (options.control == Options::Control::kWrongBytes ? !wrong : !failed) return;
  ++totals.failed_seeds;
  if (totals.first_wrong == 0 || line.seed < totals.first_wrong) totals.first_wrong = line.seed;
  if (options.control != Options::Control::kNone) return;
  std::printf("seed %llu: %s\n  replay it: make sim SEED=%llu\n",
              static_cast<unsigned long long>(line.seed), line.text,
              static_cast<unsigned long long>(line.seed));
}

Totals RunAll(const Options& options) {
  Totals totals;
  std::vector<Worker> workers(options.jobs);
  for (std::size_t i = 0; i < workers.size(); ++i) {
    workers[i].next = options.first + i;
    StartWorker(workers[i], options, workers.size());
  }
  const auto enough = [&] {
    return totals.failed_seeds >= (options.control == Options::Control::kNone ? kMostFailures : 1);
  };
  for (bool any = true; any && !enough();) {
    any = false;
    for (Worker& worker : workers) {
      const auto line = Next(worker, options, workers.size());
      if (!line) continue;
      any = true;
      Count(*line, options, totals);
    }
  }
  for (Worker& worker : workers) {
    if (worker.done) continue;
    ::kill(worker.process, SIGKILL);
    ::waitpid(worker.process, nullptr, 0);
  }
  return totals;
}

int Report(const Totals& totals, const Options& options) {
  const auto& failures = totals.failures;
  fmt::print(
      "seeds run {}, operations {}, crashes {}, wrong bytes {}, hangs {}, leaks {}, other {}\n",
      totals.seeds, totals.requests, totals.crashes, failures[0], failures[1], failures[2],
      failures[3]);
  if (options.control == Options::Control::kNone) return totals.failed_seeds == 0 ? 0 : 1;
  if (totals.failed_seeds == 0) {
    fmt::print("the control failed: what is broken on purpose was not caught\n");
    return 1;
  }
  fmt::print("what is broken on purpose was caught at seed {}\n", totals.first_wrong);
  return 0;
}

int RunOne(const Options& options) {
  const Outcome outcome = Simulation(options.first, options.sim).Run();
  for (const auto& failed : outcome.failed) fmt::print("seed {}: {}\n", options.first, failed.text);
  fmt::print("seed {}: {} operations, {} crashes, {} failures, digest {:016x}\n", options.first,
             outcome.requests, outcome.crashes, outcome.failed.size(), outcome.digest);
  return outcome.failed.empty() ? 0 : 1;
}

bool Number(const char* text, std::uint64_t& number) {
  const char* end = text + std::strlen(text);
  return std::from_chars(text, end, number).ptr == end && end != text;
}

bool Parse(int count, char** words, Options& options) {
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    std::uint64_t number = 0;
    if (word == "--control") {
      const std::string_view what = i + 1 == count ? "" : words[++i];
      if (what != "wrong-bytes" && what != "any") return false;
      options.control = what == "any" ? Options::Control::kAny : Options::Control::kWrongBytes;
      continue;
    }
    const bool takes =
        word == "--seeds" || word == "--seed" || word == "--first" || word == "--jobs";
    if (takes && (i + 1 == count || !Number(words[++i], number))) return false;
    if (word == "--seeds") {
      options.seeds = number;
    } else if (word == "--seed") {
      options.first = number;
      options.one = true;
    } else if (word == "--first") {
      options.first = number;
    } else if (word == "--jobs") {
      options.jobs = static_cast<std::uint32_t>(number);
    } else if (word == "--verbose") {
      options.sim.verbose = true;
    } else if (word == "--replay") {
      options.replay = true;
    } else {
      return false;
    }
  }
  if (options.jobs == 0) options.jobs = std::max(1u, std::thread::hardware_concurrency());
  return true;
}

}  // namespace
}  // namespace kvpool::sim

int main(int count, char** words) {
  kvpool::sim::Options options;
  if (!kvpool::sim::Parse(count, words, options)) {
    std::fprintf(stderr,
                 "usage: kvpool_sim [--seeds N] [--first SEED] [--jobs N] [--replay] "
                 "[--control wrong-bytes|any] | --seed SEED [--verbose]\n");
    return 2;
  }
  if (options.one) return kvpool::sim::RunOne(options);
  return kvpool::sim::Report(kvpool::sim::RunAll(options), options);
}
