#include "bench/compare/measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/limits.h"
#include "bench/compare/accounting.h"
#include "bench/compare/bench.h"
#include "bench/compare/content.h"
#include "bench/compare/scratch.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

constexpr std::uint64_t kRequest = 1 * kMiB;
constexpr std::size_t kThreads = 16;

double SecondsOf(const std::function<void()>& work) {
  const std::int64_t begin = Clock::Monotonic().NowNs();
  work();
  return 1e-9 * static_cast<double>(std::max<std::int64_t>(1, Clock::Monotonic().NowNs() - begin));
}

// Calls transfer(offset, thread) for every request of `bytes` from kThreads threads; false when
// one failed.
bool InParallel(std::uint64_t bytes,
                const std::function<ssize_t(std::uint64_t, std::size_t)>& transfer) {
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t at; good && (at = next.fetch_add(kRequest)) + kRequest <= bytes;) {
        if (transfer(at, t) != static_cast<ssize_t>(kRequest)) good = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return good;
}

class Measurement {
 public:
  Measurement(std::filesystem::path file, std::uint64_t bytes)
      : file_(std::move(file)), bytes_(bytes / kRequest * kRequest) {}
  ~Measurement() {
    if (fd_ >= 0) close(fd_);
    std::error_code ignored;
    std::filesystem::remove(file_, ignored);
  }

  Result<Speed> Run(std::uint64_t seed);

 private:
  tl::unexpected<Error> Failed(const char* what) const {
    const int failed = errno;
    return Fail(failed == ENOSPC ? Status::kNoSpace : Status::kIoError,
                fmt::format("cannot {} {}: {}; name another folder with --dir.", what,
                            file_.string(), std::strerror(failed)),
                failed);
  }

  std::filesystem::path file_;
  std::uint64_t bytes_;
  int fd_ = -1;
};

Result<Speed> Measurement::Run(std::uint64_t seed) {
  constexpr int kFlags = O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC;
  fd_ = open(file_.c_str(), kFlags | O_DIRECT, 0600);
  if (fd_ < 0) fd_ = open(file_.c_str(), kFlags, 0600);
  if (fd_ < 0) return Failed("write");
  // Preallocated like the pool's files; a filesystem that cannot is measured as it is.
  [[maybe_unused]] const int ignored = fallocate(fd_, 0, 0, static_cast<off_t>(bytes_));
  auto region =
      mem::Region::Make({.bytes = kThreads * kRequest, .shareable = false, .lock = false});
  if (!region) return tl::unexpected(region.error());
  const auto piece = [&](std::size_t t) {
    return (*region)->bytes().subspan(t * kRequest, kRequest);
  };
  for (std::size_t t = 0; t < kThreads; ++t) FillBlock(seed, t, piece(t));

  bool good = true;
  Speed speed;
  const auto offset = [](std::uint64_t at) { return static_cast<off_t>(at); };
  const auto size = static_cast<double>(bytes_);
  const auto write_all = [&] {
    good = InParallel(bytes_, [&](std::uint64_t at, std::size_t t) {
      return pwrite(fd_, piece(t).data(), kRequest, offset(at));
    });
    good = fdatasync(fd_) == 0 && good;
  };
  write_all();  // the first time, a filesystem turns preallocated space into written space
  if (!good) return Failed("write");
  speed.write_bytes_per_s = size / SecondsOf(write_all);
  DropFromPageCache(file_);
  speed.read_bytes_per_s = size / SecondsOf([&] {
                             good =
                                 good && InParallel(bytes_, [&](std::uint64_t at, std::size_t t) {
                                   return pread(fd_, piece(t).data(), kRequest, offset(at));
                                 });
                           });
  if (!good) return Failed("read");
  return speed;
}

}  // namespace

Result<Speed> MeasureFolder(const std::filesystem::path& folder, std::uint64_t bytes,
                            std::uint64_t seed) {
  return Measurement(folder / "measure", bytes).Run(seed);
}

double MeasureMemory(std::uint64_t bytes) {
  bytes = bytes / kRequest * kRequest;
  auto from = mem::Region::Make({.bytes = bytes, .shareable = false, .lock = false});
  auto to = mem::Region::Make({.bytes = bytes, .shareable = false, .lock = false});
  if (!from || !to) return 0;
  FillBlock(1, 1, (*from)->bytes());
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    const double seconds = SecondsOf([&] {
      for (std::uint64_t at = 0; at < bytes; at += kRequest) {
        std::memcpy((*to)->bytes().data() + at, (*from)->bytes().data() + at, kRequest);
      }
    });
    best = std::max(best, static_cast<double>(bytes) / seconds);
  }
  return best;
}

Sample MeasureChecksums(std::span<const std::byte> bytes, std::uint64_t unit_bytes) {
  Sample sample{.bytes = bytes.size()};
  std::uint64_t all = 0;
  const double cpu_begin = ProcessCpuSeconds();
  sample.seconds = SecondsOf([&] {
    for (std::uint32_t unit = 0; !bytes.empty(); ++unit) {
      const auto piece = bytes.first(std::min<std::uint64_t>(unit_bytes, bytes.size()));
      all ^= Digest({reinterpret_cast<const char*>(piece.data()), piece.size()}, unit);
      bytes = bytes.subspan(piece.size());
    }
  });
  sample.cpu_s = ProcessCpuSeconds() - cpu_begin;
  [[maybe_unused]] volatile std::uint64_t kept = all;  // the work must not be optimised away
  return sample;
}

Result<MachineSpeed> MeasureMachine(const std::filesystem::path& dir, std::uint64_t seed) {
  auto scratch = Scratch::Make(dir);
  if (!scratch) return tl::unexpected(scratch.error());
  auto folder = MeasureFolder(scratch->path(), 256 * kMiB, seed);
  if (!folder) return tl::unexpected(folder.error());
  // Devices are written at their speed, too: the slower direction counts.
  return MachineSpeed{MeasureMemory(256 * kMiB),
                      std::min(folder->read_bytes_per_s, folder->write_bytes_per_s)};
}

}  // namespace kvpool::bench
