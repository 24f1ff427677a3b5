// fio as the yardstick: io_uring, O_DIRECT, 1 MiB, huge-page buffers, on a file of the same size.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/limits.h"
#include "bench/compare/contender.h"
#include "bench/compare/fio.h"
#include "bench/compare/program.h"
#include "bench/compare/scratch.h"

namespace kvpool::bench {
namespace {

// Reads at least this much, over and over, so that starting up does not count.
constexpr std::uint64_t kLeastBytes = 4 * kGiB;

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
  bool hugepages_ = false;
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
  auto figures = RunFio(
      {.targets = {file_.string()}, .bytes = bytes, .loops = static_cast<std::uint32_t>(loops)});
  if (!figures) return tl::unexpected(figures.error());
  hugepages_ = figures->hugepages;
  if (setting_.stopped()) return Fail(Status::kCancelled, "stopped.");
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
      kFioDepth, hugepages_ ? "hugepage" : "transparent-hugepage");
}

}  // namespace

Result<std::unique_ptr<Contender>> MakeFioContender(const Setting& setting) {
  if (auto found = NeedFio(); !found) return tl::unexpected(found.error());
  return std::make_unique<FioContender>(setting);
}

}  // namespace kvpool::bench
