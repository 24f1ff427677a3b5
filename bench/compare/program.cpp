#include "bench/compare/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace kvpool::bench {

Result<Ended> RunProgram(std::vector<std::string> arguments, const std::string& setting) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Fail(Status::kIoError, fmt::format("cannot make a pipe to {}.", arguments[0]), errno);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> env;
  for (char** entry = environ; *entry != nullptr; ++entry) env.push_back(*entry);
  std::string added = setting;
  if (!added.empty()) env.push_back(added.data());
  env.push_back(nullptr);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), env.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Ended ended;
  if (failed == 0) {
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = read(ends[0], buffer.data(), buffer.size())) != 0;) {
      if (n > 0) ended.output.append(buffer.data(), static_cast<std::size_t>(n));
      if (n < 0 && errno != EINTR) break;
    }
    int status = 0;
    rusage used{};
    while (wait4(child, &status, 0, &used) < 0 && errno == EINTR) {
    }
    for (const timeval& time : {used.ru_utime, used.ru_stime}) {
      ended.cpu_s += static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    }
    ended.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  close(ends[0]);
  if (failed != 0 || ended.exit_code == 127) {
    return Fail(
        Status::kUnsupported,
        fmt::format("{} cannot be started: install it, or leave out what needs it.", arguments[0]),
        failed);
  }
  return ended;
}

}  // namespace kvpool::bench
