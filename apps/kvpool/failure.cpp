#include "apps/kvpool/failure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <system_error>

#include "apps/kvpool/interrupt.h"

namespace kvpool::cli {
namespace {

constexpr const char* kNoMemory =
    "memory ran out: ask for less with --memory, --context, --sample or --capacity-blocks, or "
    "raise "
    "the limit (ulimit -v, or that of the container)";

std::string DescribeSystem(const std::system_error& error) {
  if (error.code() == std::errc::not_enough_memory) return kNoMemory;
  if (error.code() == std::errc::resource_unavailable_try_again) {
    return "no thread could be started: raise the limit on processes (ulimit -u) or on memory "
           "(ulimit -v)";
  }
  return fmt::format(
      "the system refused something ({}): look at the limits of this shell "
      "(ulimit -a)",
      error.code().message());
}

[[noreturn]] void Terminate() {
  const std::exception_ptr failure = std::current_exception();
  try {
    fmt::print(stderr, "kvpool: {}\n", Describe(failure));
  } catch (...) {
    std::fputs("kvpool: memory ran out\n", stderr);
  }
  RemoveTemporaryPaths();
  _exit(1);
}

}  // namespace

std::string Describe(const std::exception_ptr& failure) {
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  } catch (const std::filesystem::filesystem_error& error) {
    return fmt::format("{} cannot be used ({}): check the path and who may use it",
                       error.path1().string(), error.code().message());
  } catch (const std::system_error& error) {
    return DescribeSystem(error);
  } catch (const std::exception& error) {
    return fmt::format("{}: this is a defect of kvpool, please report it with the command line",
                       error.what());
  } catch (...) {
  }
  return "something unknown went wrong: this is a defect of kvpool, please report it with the "
         "command line";
}

void CatchFailures() {
  std::set_terminate(Terminate);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace kvpool::cli
