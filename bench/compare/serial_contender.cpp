// The serial baselines: memory first, then one file a block on the fastest drive.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "bench/compare/accounting.h"
#include "bench/compare/arithmetic.h"
#include "bench/compare/contender.h"
#include "bench/compare/pace.h"
#include "bench/compare/scratch.h"
#include "mem/region.h"

namespace kvpool::bench {
namespace {

// One piece of a phase: what one thread does without looking at the others.
struct Piece {
  std::uint64_t block = 0;
  std::uint64_t offset = 0;  // in the block
  std::uint64_t bytes = 0;
};

struct Tuning {
  std::size_t file_threads;
  std::size_t memory_threads;
  std::uint64_t piece_bytes;    // 0: a whole block
  std::uint64_t request_bytes;  // of one read
};
constexpr Tuning kSerial{4, 1, 0, 1 * kMiB};
constexpr Tuning kSerialDirect{16, 2, 2 * kMiB, 2 * kMiB};

// Requests that a thread lets be due at once: what read-ahead is to a synchronous reader.
constexpr std::size_t kAhead = 2;

std::vector<Piece> Cut(const std::vector<std::uint64_t>& blocks, std::uint64_t block_bytes,
                       std::uint64_t piece_bytes) {
  std::vector<Piece> pieces;
  const std::uint64_t step = piece_bytes == 0 ? block_bytes : piece_bytes;
  for (const std::uint64_t block : blocks) {
    for (std::uint64_t at = 0; at < block_bytes; at += step) {
      pieces.push_back({block, at, std::min(step, block_bytes - at)});
    }
  }
  return pieces;
}

// An open file that closes itself.
class File {
 public:
  File(const std::filesystem::path& path, int flags)
      : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

class SerialContender final : public Contender {
 public:
  SerialContender(const Setting& setting, bool direct);
  ~SerialContender() override;
  Result<void> Prepare();

  Result<std::optional<Sample>> Store(const Content& content) override;
  void DropCaches() override;
  Result<Sample> Retrieve(std::uint64_t blocks, std::span<std::byte> into) override;
  std::vector<std::uint64_t> BytesRead() const override;
  std::string note() const override;

 private:
  // What the threads of one phase share.
  struct Phase {
    std::vector<Piece> pieces;
    bool in_memory = false;
    std::span<std::byte> into;
    std::atomic<std::size_t> next{0};
    std::atomic<int> failed_errno{0};
    std::vector<std::optional<double>> blocked_s;  // one a thread
  };

  bool InMemory(std::uint64_t block) const { return period_ != 0 && block % period_ == 0; }
  std::filesystem::path PathOf(std::uint64_t block) const {
    return setting_.folder / fmt::format("block-{}", block);
  }
  std::byte* MemoryOf(std::uint64_t block) const {
    return memory_->bytes().data() + block / period_ * setting_.block_bytes;
  }
  Result<void> WriteFile(std::uint64_t block, std::span<const std::byte> bytes) const;
  void RunPhase(Phase& phase, std::size_t threads);
  void Work(Phase& phase, std::size_t thread);
  int WorkOnPiece(const Phase& phase, const Piece& piece);

  const Setting setting_;
  const bool direct_;
  const Tuning tuning_;
  const std::uint64_t period_;
  bool o_direct_ = false;  // the folder takes it
  Filesystem filesystem_;
  std::unique_ptr<mem::Region> memory_;
  SharedPace memory_pace_;
  SharedPace file_pace_;
  std::atomic<std::uint64_t> memory_bytes_{0};
  std::atomic<std::uint64_t> file_bytes_{0};
};

// What a method without pace waits for, too: the window of reservations of one thread.
class Window {
 public:
  explicit Window(std::atomic<std::uint64_t>& counter) : counter_(counter) {}
  void Add(std::int64_t due_ns, std::uint64_t bytes) {
    if (size_ == kAhead) Finish();
    ring_[(begin_ + size_++) % kAhead] = {due_ns, bytes};
  }
  void Drain() {
    while (size_ > 0) Finish();
  }

 private:
  void Finish() {
    const auto [due_ns, bytes] = ring_[begin_];
    SleepUntil(due_ns);
    counter_.fetch_add(bytes, std::memory_order_relaxed);
    begin_ = (begin_ + 1) % kAhead;
    --size_;
  }

  std::atomic<std::uint64_t>& counter_;
  std::array<std::pair<std::int64_t, std::uint64_t>, kAhead> ring_{};
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
};

bool AllEmulated(const Setting& setting, DeviceKind kind) {
  return std::all_of(setting.devices.begin(), setting.devices.end(),
                     [&](const DeviceSpeed& d) { return d.kind != kind || d.emulated; });
}

// The fastest file device; its pace is the one that the serial caches see.
const DeviceSpeed* FastestFile(const Setting& setting) {
  const DeviceSpeed* fastest = nullptr;
  for (const DeviceSpeed& device : setting.devices) {
    if (device.kind != DeviceKind::kFile) continue;
    if (fastest == nullptr || device.read_bytes_per_s > fastest->read_bytes_per_s) {
      fastest = &device;
    }
  }
  return fastest;
}

double FilePace(const Setting& setting) {
  const DeviceSpeed* file = FastestFile(setting);
  return file != nullptr && file->emulated ? file->read_bytes_per_s : 0;
}

SerialContender::SerialContender(const Setting& setting, bool direct)
    : setting_(setting),
      direct_(direct),
      tuning_(direct ? kSerialDirect : kSerial),
      period_(SerialMemoryPeriod(setting)),
      memory_pace_(AllEmulated(setting, DeviceKind::kMemory) ? MemoryBytesPerS(setting) : 0),
      file_pace_(FilePace(setting)) {}

SerialContender::~SerialContender() {
  std::error_code ignored;
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    if (!InMemory(b)) std::filesystem::remove(PathOf(b), ignored);
  }
}

Result<void> SerialContender::Prepare() {
  if (period_ != 0) {
    auto region = mem::Region::Make(
        {.bytes = SerialMemoryBlocks(setting_, setting_.blocks) * setting_.block_bytes,
         .shareable = false,
         .lock = false});
    if (!region) return tl::unexpected(region.error());
    memory_ = std::move(*region);
  }
  if (period_ == 1) return {};
  auto filesystem = FilesystemOf(setting_.folder);
  if (!filesystem) return tl::unexpected(filesystem.error());
  filesystem_ = *filesystem;
  const std::filesystem::path probe = setting_.folder / "probe";
  o_direct_ = File(probe, O_CREAT | O_RDWR | O_DIRECT).fd() >= 0;
  std::error_code ignored;
  std::filesystem::remove(probe, ignored);
  if (direct_ && !o_direct_ && !setting_.accept_buffered) {
    return Fail(Status::kUnsupported,
                fmt::format("{} refuses O_DIRECT, which serial-direct needs: name a folder on "
                            "another filesystem, or accept buffered files.",
                            filesystem_.type));
  }
  return {};
}

Result<void> SerialContender::WriteFile(std::uint64_t block,
                                        std::span<const std::byte> bytes) const {
  const File file(PathOf(block), O_CREAT | O_TRUNC | O_WRONLY | (o_direct_ ? O_DIRECT : 0));
  const auto failed = [&] {
    return Fail(errno == ENOSPC ? Status::kNoSpace : Status::kIoError,
                fmt::format("cannot write {}: {}.", PathOf(block).string(), std::strerror(errno)),
                errno);
  };
  if (file.fd() < 0) return failed();
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t step = std::min<std::size_t>(4 * kMiB, bytes.size() - at);
    const ssize_t n = pwrite(file.fd(), bytes.data() + at, step, static_cast<off_t>(at));
    if (n <= 0) return failed();
    at += static_cast<std::size_t>(n);
  }
  if (fdatasync(file.fd()) != 0) return failed();
  return {};
}

Result<std::optional<Sample>> SerialContender::Store(const Content& content) {
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    if (setting_.stopped()) return Fail(Status::kCancelled, "stopped.");
    const auto bytes = content.Block(b);
    if (InMemory(b)) {
      std::memcpy(MemoryOf(b), bytes.data(), bytes.size());
    } else if (auto written = WriteFile(b, bytes); !written) {
      return tl::unexpected(written.error());
    }
  }
  return std::nullopt;
}

void SerialContender::DropCaches() {
  for (std::uint64_t b = 0; b < setting_.blocks; ++b) {
    if (!InMemory(b)) DropFromPageCache(PathOf(b));
  }
}

// Returns an errno.
int SerialContender::WorkOnPiece(const Phase& phase, const Piece& piece) {
  Window window(phase.in_memory ? memory_bytes_ : file_bytes_);
  SharedPace& pace = phase.in_memory ? memory_pace_ : file_pace_;
  std::byte* to = phase.into.data() + piece.block * setting_.block_bytes + piece.offset;
  const bool direct = direct_ && o_direct_;
  std::optional<File> file;
  if (!phase.in_memory) {
    file.emplace(PathOf(piece.block), O_RDONLY | (direct ? O_DIRECT : 0));
    if (file->fd() < 0) return errno;
  }
  for (std::uint64_t at = 0; at < piece.bytes && !setting_.stopped();) {
    std::uint64_t n = std::min(tuning_.request_bytes, piece.bytes - at);
    const std::int64_t due = pace.Reserve(n);
    if (phase.in_memory && !setting_.lease) {
      std::memcpy(to + at, MemoryOf(piece.block) + piece.offset + at, n);
    } else if (!phase.in_memory) {
      const ssize_t got = pread(file->fd(), to + at, n, static_cast<off_t>(piece.offset + at));
      if (got <= 0) return got == 0 ? EIO : errno;
      n = static_cast<std::uint64_t>(got);
    }
    window.Add(due, n);
    at += n;
  }
  window.Drain();
  return 0;
}

void SerialContender::Work(Phase& phase, std::size_t thread) {
  prctl(PR_SET_TIMERSLACK, 1);
  const auto begin = ReadThisThread();
  while (phase.failed_errno.load(std::memory_order_relaxed) == 0 && !setting_.stopped()) {
    const std::size_t mine = phase.next.fetch_add(1, std::memory_order_relaxed);
    if (mine >= phase.pieces.size()) break;
    if (const int failed = WorkOnPiece(phase, phase.pieces[mine]); failed != 0) {
      phase.failed_errno.store(failed, std::memory_order_relaxed);
    }
  }
  const auto end = ReadThisThread();
  if (begin && end) phase.blocked_s[thread] = BlockedSeconds(*begin, *end);
}

void SerialContender::RunPhase(Phase& phase, std::size_t threads) {
  threads = std::min(threads, phase.pieces.size());
  phase.blocked_s.resize(threads);
  std::vector<std::thread> workers;
  for (std::size_t t = 0; t < threads; ++t) {
    workers.emplace_back([this, &phase, t] { Work(phase, t); });
  }
  for (std::thread& worker : workers) worker.join();
}

Result<Sample> SerialContender::Retrieve(std::uint64_t blocks, std::span<std::byte> into) {
  KVPOOL_CHECK(into.size() >= blocks * setting_.block_bytes);
  std::vector<std::uint64_t> in_memory;
  std::vector<std::uint64_t> on_file;
  for (std::uint64_t b = 0; b < blocks; ++b) (InMemory(b) ? in_memory : on_file).push_back(b);
  Phase first;
  first.pieces = Cut(in_memory, setting_.block_bytes, tuning_.piece_bytes);
  first.in_memory = true;
  first.into = into;
  Phase second;
  second.pieces = Cut(on_file, setting_.block_bytes, tuning_.piece_bytes);
  second.into = into;

  Sample sample{.bytes = blocks * setting_.block_bytes};
  const double cpu_begin = ProcessCpuSeconds();
  const std::int64_t begin = Clock::Monotonic().NowNs();
  RunPhase(first, tuning_.memory_threads);
  RunPhase(second, tuning_.file_threads);
  sample.seconds = 1e-9 * static_cast<double>(Clock::Monotonic().NowNs() - begin);
  sample.cpu_s = ProcessCpuSeconds() - cpu_begin;

  for (const std::uint64_t b : in_memory) {
    if (!setting_.lease) break;
    std::memcpy(into.data() + b * setting_.block_bytes, MemoryOf(b), setting_.block_bytes);
  }
  if (setting_.stopped()) return Fail(Status::kCancelled, "stopped.");
  const int failed = std::max(first.failed_errno.load(), second.failed_errno.load());
  if (failed != 0) {
    return Fail(Status::kIoError,
                fmt::format("cannot read the blocks back: {}.", std::strerror(failed)), failed);
  }
  sample.blocked_s = 0;
  for (const Phase* phase : {&first, &second}) {
    for (const auto& blocked : phase->blocked_s) {
      sample.blocked_s =
          blocked && sample.blocked_s ? std::optional(*sample.blocked_s + *blocked) : std::nullopt;
    }
  }
  sample.spin_s = 0;
  sample.hit_ratio = 1;
  return sample;
}

// The memory of all nodes counts as one; its bytes are told in proportion.
std::vector<std::uint64_t> SerialContender::BytesRead() const {
  std::vector<std::uint64_t> read(setting_.devices.size());
  const DeviceSpeed* file = FastestFile(setting_);
  const auto memory = static_cast<double>(memory_bytes_.load(std::memory_order_relaxed));
  for (std::size_t d = 0; d < read.size(); ++d) {
    const DeviceSpeed& device = setting_.devices[d];
    if (&device == file) {
      read[d] = file_bytes_.load(std::memory_order_relaxed);
    } else if (device.kind == DeviceKind::kMemory) {
      read[d] =
          static_cast<std::uint64_t>(memory * device.read_bytes_per_s / MemoryBytesPerS(setting_));
    }
  }
  return read;
}

std::string SerialContender::note() const {
  if (period_ == 1) return "memory only";
  if (direct_ && o_direct_) {
    return fmt::format("O_DIRECT on {}: page cache bypassed; {} threads, {} MiB requests",
                       filesystem_.type, tuning_.file_threads, tuning_.request_bytes / kMiB);
  }
  return fmt::format("buffered on {}: {}; {} threads", filesystem_.type,
                     filesystem_.in_memory
                         ? "in memory, so there is no page cache to drop, as if every block were "
                           "cached"
                         : "page cache dropped before each retrieval",
                     tuning_.file_threads);
}

}  // namespace

Result<std::unique_ptr<Contender>> MakeSerialContender(const Setting& setting, bool direct) {
  auto contender = std::make_unique<SerialContender>(setting, direct);
  if (auto ready = contender->Prepare(); !ready) return tl::unexpected(ready.error());
  return contender;
}

}  // namespace kvpool::bench
