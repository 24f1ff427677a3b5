// fio as the yardstick: io_uring, O_DIRECT, 1 MiB, huge-page buffers, on a file of the same size.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "bench/compare/contender.h"
#include "bench/compare/fio.h"
#include "bench/compare/scratch.h"

namespace kvpool::bench {
namespace {

constexpr std::uint32_t kDepth = 32;
// Reads at least this much, over and over, so that starting up does not count.
constexpr std::uint64_t kLeastBytes = 4 * kGiB;

struct Ended {
  int exit_code = -1;
  std::string output;
};

// Runs a program, its standard output in our hands.
Result<Ended> RunProgram(std::vector<std::string> arguments, const std::string& setting) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Fail(Status::kIoError, "cannot make a pipe to fio.", errno);
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
  env.push_back(added.data());
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
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    ended.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  close(ends[0]);
  if (failed != 0 || ended.exit_code == 127) {
    return Fail(Status::kUnsupported,
                "fio cannot be started: install it (apt-get install fio) or leave the method out.",
                failed);
  }
  return ended;
}

std::uint64_t FreeHugepages() {
  std::ifstream free("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  std::uint64_t pages = 0;
  free >> pages;
  return pages;
}

class FioContender final : public Contender {
 public:
  explicit FioContender(const Setting& setting)
      : setting_(setting), file_(setting.folder / "fio") {}
  ~FioContender() override {
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  Result<std::optional<Sample>> Store(const Content& content) override;
  void DropCaches() override { DropFromPageCache(file_); }
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override;
  bool delivers() const override { return false; }
  std::vector<std::uint64_t> BytesRead() const override {
    return std::vector<std::uint64_t>(setting_.devices.size());
  }
  std::string note() const override;

 private:
  const Setting setting_;
  const std::filesystem::path file_;
  bool reserved_hugepages_ = false;
};

Result<std::optional<Sample>> FioContender::Store(const Content& content) {
  int fd = open(file_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
  if (fd < 0) fd = open(file_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  std::span<const std::byte> left = content.buffer();
  while (fd >= 0 && !left.empty() && !setting_.stopped()) {
    const ssize_t n = write(fd, left.data(), std::min<std::size_t>(left.size(), 4 * kMiB));
    if (n <= 0) break;
    left = left.subspan(static_cast<std::size_t>(n));
  }
  const int failed = errno;
  if (fd >= 0) {
    fdatasync(fd);
    close(fd);
  }
  if (setting_.stopped()) return Fail(Status::kCancelled, "stopped.");
  if (!left.empty()) {
    return Fail(Status::kIoError,
                fmt::format("cannot write {}: {}.", file_.string(), std::strerror(failed)), failed);
  }
  return std::nullopt;
}

Result<Sample> FioContender::Retrieve(std::uint64_t blocks, std::span<std::byte>) {
  const std::uint64_t bytes = blocks * setting_.block_bytes;
  const std::uint64_t loops = (kLeastBytes + bytes - 1) / bytes;
  reserved_hugepages_ = FreeHugepages() * 2 * kMiB >= (kDepth + 2) * kMiB;
  // Without reserved hugepages its malloc can be told to ask for transparent ones.
  auto ended = RunProgram(
      {"fio", "--name=kvpool", "--filename=" + file_.string(), "--rw=read", "--bs=1M", "--direct=1",
       "--ioengine=io_uring", "--thread", "--zero_buffers", "--output-format=json",
       fmt::format("--iodepth={}", kDepth), fmt::format("--size={}", bytes),
       fmt::format("--loops={}", loops), reserved_hugepages_ ? "--mem=mmaphuge" : "--mem=malloc"},
      "GLIBC_TUNABLES=glibc.malloc.hugetlb=1");
  if (!ended) return tl::unexpected(ended.error());
  if (setting_.stopped()) return Fail(Status::kCancelled, "stopped.");
  const auto figures = ended->exit_code == 0 ? ParseFio(ended->output) : std::nullopt;
  if (!figures) {
    return Fail(Status::kIoError,
                fmt::format("fio failed with exit code {}: try it by hand, or leave the method "
                            "out.",
                            ended->exit_code));
  }
  Sample sample;
  sample.bytes = bytes;
  sample.seconds = static_cast<double>(bytes) / figures->bytes_per_s;
  sample.cpu_s = figures->cpu_s * static_cast<double>(bytes) / static_cast<double>(figures->bytes);
  return sample;
}

std::string FioContender::note() const {
  return fmt::format(
      "fio: io_uring, O_DIRECT, 1 MiB, depth {}, {} buffers; a file of the same size, read often "
      "enough that its start-up, which its own count of CPU time includes in part, does not matter",
      kDepth, reserved_hugepages_ ? "hugepage" : "transparent-hugepage");
}

}  // namespace

std::optional<FioFigures> ParseFio(std::string_view text) {
  // Warnings may stand before the JSON.
  const std::size_t begin = text.find('{');
  if (begin == std::string_view::npos) return std::nullopt;
  const auto json = nlohmann::json::parse(text.substr(begin), nullptr, false);
  if (json.is_discarded() || !json.contains("jobs") || json["jobs"].empty()) return std::nullopt;
  try {
    const auto& job = json["jobs"][0];
    FioFigures figures;
    figures.bytes = job.at("read").at("io_bytes").get<std::uint64_t>();
    figures.bytes_per_s = job.at("read").at("bw_bytes").get<double>();
    figures.cpu_s = (job.at("usr_cpu").get<double>() + job.at("sys_cpu").get<double>()) / 100 *
                    job.at("job_runtime").get<double>() / 1000;
    if (figures.bytes == 0 || figures.bytes_per_s <= 0) return std::nullopt;
    return figures;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

Result<std::unique_ptr<Contender>> MakeFioContender(const Setting& setting) {
  auto version = RunProgram({"fio", "--version"}, "KVPOOL=bench");
  if (!version) return tl::unexpected(version.error());
  return std::make_unique<FioContender>(setting);
}

}  // namespace kvpool::bench
