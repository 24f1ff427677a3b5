#include "bench/compare/fio.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "bench/compare/program.h"

namespace kvpool::bench {
namespace {

// Passthrough cannot split a request, and small pages make many segments of a large one.
constexpr std::uint64_t kPassthroughBytes = 512 * kKiB;

std::uint64_t FreeHugepages() {
  std::ifstream free("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  std::uint64_t pages = 0;
  free >> pages;
  return pages;
}

std::vector<std::string> ArgumentsOf(const FioRun& run, bool hugepages) {
  std::vector<std::string> arguments{
      "fio",
      "--rw=read",
      "--thread",
      "--zero_buffers",
      "--output-format=json",
      fmt::format("--bs={}", run.passthrough ? kPassthroughBytes : kMiB),
      fmt::format("--iodepth={}", kFioDepth),
      fmt::format("--size={}", run.bytes),
      hugepages ? "--mem=mmaphuge" : "--mem=malloc"};
  if (run.passthrough) {
    arguments.insert(arguments.end(), {"--ioengine=io_uring_cmd", "--cmd_type=nvme"});
  } else {
    arguments.insert(arguments.end(), {"--ioengine=io_uring", "--direct=1"});
  }
  if (run.seconds > 0) {
    arguments.insert(arguments.end(),
                     {"--time_based", fmt::format("--runtime={:.0f}ms", run.seconds * 1000)});
  } else {
    arguments.push_back(fmt::format("--loops={}", run.loops));
  }
  for (const std::string& target : run.targets) {
    arguments.insert(arguments.end(), {"--name=" + target, "--filename=" + target});
  }
  return arguments;
}

}  // namespace

Result<void> NeedFio() {
  auto version = RunProgram({"fio", "--version"});
  if (!version) return tl::unexpected(version.error());
  return {};
}

Result<FioFigures> RunFio(const FioRun& run) {
  const std::uint64_t needed = run.targets.size() * (kFioDepth + 2) * kMiB;
  const bool hugepages = FreeHugepages() * 2 * kMiB >= needed;
  // Without reserved hugepages its malloc can be told to ask for transparent ones.
  auto ended = RunProgram(ArgumentsOf(run, hugepages), "GLIBC_TUNABLES=glibc.malloc.hugetlb=1");
  if (!ended) return tl::unexpected(ended.error());
  auto figures = ended->exit_code == 0 ? ParseFio(ended->output) : std::nullopt;
  if (!figures) {
    return Fail(Status::kIoError,
                fmt::format("fio failed with exit code {}: try it by hand, or leave the method "
                            "out.",
                            ended->exit_code));
  }
  figures->hugepages = hugepages;
  return *figures;
}

std::optional<FioFigures> ParseFio(std::string_view text) {
  // Warnings may stand before the JSON.
  const std::size_t begin = text.find('{');
  if (begin == std::string_view::npos) return std::nullopt;
  const auto json = nlohmann::json::parse(text.substr(begin), nullptr, false);
  if (json.is_discarded() || !json.contains("jobs") || json["jobs"].empty()) return std::nullopt;
  try {
    FioFigures figures;
    for (const auto& job : json["jobs"]) {
      figures.bytes += job.at("read").at("io_bytes").get<std::uint64_t>();
      figures.bytes_per_s += job.at("read").at("bw_bytes").get<double>();
      figures.cpu_s += (job.at("usr_cpu").get<double>() + job.at("sys_cpu").get<double>()) / 100 *
                       job.at("job_runtime").get<double>() / 1000;
    }
    if (figures.bytes == 0 || figures.bytes_per_s <= 0) return std::nullopt;
    return figures;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace kvpool::bench
