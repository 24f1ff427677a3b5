#include "bench/compare/accounting.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "base/clock.h"

namespace kvpool::bench {
namespace {

// The next blank-separated number of `text`, which is advanced past it.
std::optional<std::int64_t> NextNumber(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::optional<std::string> ReadAll(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char buffer[1024];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  close(fd);
  if (n <= 0) return std::nullopt;
  return std::string(buffer, static_cast<std::size_t>(n));
}

}  // namespace

std::optional<Schedstat> ParseSchedstat(std::string_view text) {
  const auto run = NextNumber(text);
  const auto wait = run ? NextNumber(text) : std::nullopt;
  if (!wait) return std::nullopt;
  return Schedstat{*run, *wait};
}

std::optional<StatTicks> ParseStat(std::string_view text) {
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos || name_end + 3 >= text.size()) return std::nullopt;
  text.remove_prefix(name_end + 3);  // ") S": field 3 is a letter
  for (int i = 4; i <= 13; ++i) {
    if (!NextNumber(text)) return std::nullopt;
  }
  const auto user = NextNumber(text);
  const auto system = user ? NextNumber(text) : std::nullopt;
  if (!system) return std::nullopt;
  return StatTicks{*user, *system};
}

std::optional<ThreadBooks> ReadThread(pid_t thread) {
  const std::string folder = fmt::format("/proc/self/task/{}/", thread);
  const auto sched_text = ReadAll(folder + "schedstat");
  const auto stat_text = ReadAll(folder + "stat");
  if (!sched_text || !stat_text) return std::nullopt;
  const auto sched = ParseSchedstat(*sched_text);
  const auto ticks = ParseStat(*stat_text);
  if (!sched || !ticks) return std::nullopt;
  return ThreadBooks{Clock::Monotonic().NowNs(), *sched, *ticks};
}

std::optional<ThreadBooks> ReadThisThread() { return ReadThread(gettid()); }

double BlockedSeconds(const ThreadBooks& begin, const ThreadBooks& end, double spin_s) {
  const std::int64_t run = end.sched.run_ns - begin.sched.run_ns;
  const std::int64_t waited = end.sched.wait_ns - begin.sched.wait_ns;
  const std::int64_t off = std::max<std::int64_t>(0, end.at_ns - begin.at_ns - run - waited);
  std::int64_t user = end.ticks.user - begin.ticks.user;
  std::int64_t system = end.ticks.system - begin.ticks.system;
  if (user + system <= 0) {
    user = end.ticks.user;
    system = end.ticks.system;
  }
  const double system_part =
      user + system > 0 ? static_cast<double>(system) / static_cast<double>(user + system) : 0;
  const double busy_s = std::max(0.0, 1e-9 * static_cast<double>(run) - spin_s);
  return 1e-9 * static_cast<double>(off) + system_part * busy_s;
}

double ProcessCpuSeconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

ThreadsMeter::ThreadsMeter(std::span<const std::int32_t> threads)
    : threads_(threads.begin(), threads.end()) {
  for (const std::int32_t thread : threads_) begin_.push_back(ReadThread(thread));
}

std::optional<double> ThreadsMeter::BlockedSeconds(std::span<const double> spin_s) const {
  double sum = 0;
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    const auto end = ReadThread(threads_[i]);
    if (!begin_[i] || !end) return std::nullopt;
    sum += bench::BlockedSeconds(*begin_[i], *end, i < spin_s.size() ? spin_s[i] : 0);
  }
  return sum;
}

}  // namespace kvpool::bench
