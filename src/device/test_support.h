// What the tests of this room share: scratch folders, made devices, and an owner that drives a
// queue.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/clock.h"
#include "device/open.h"

namespace kvpool::device {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "kvpool-device-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline DeviceConfig FileConfig(const std::filesystem::path& path,
                               std::uint64_t capacity_bytes = 8 * kMiB) {
  DeviceConfig config;
  config.name = "file";
  config.path = path;
  config.capacity_bytes = capacity_bytes;
  config.accept_buffered = true;  // the scratch folder may lie anywhere
  return config;
}

inline DeviceConfig MemoryConfig(std::uint64_t capacity_bytes = 8 * kMiB) {
  DeviceConfig config;
  config.name = "memory";
  config.kind = DeviceKind::kMemory;
  config.capacity_bytes = capacity_bytes;
  return config;
}

inline CreateOptions Creation(std::uint64_t pool_id = 7, std::uint64_t device_id = 70) {
  CreateOptions options;
  options.label.pool_id = pool_id;
  options.label.device_id = device_id;
  return options;
}

// Memory as a drive wants it.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes, unsigned char fill = 0)
      : data_(static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096))),
        bytes_(bytes) {
    std::fill_n(data_, bytes, std::byte{fill});
    if (registered_ != nullptr) registered_->Add(memory());
  }
  ~Buffer() {
    if (registered_ != nullptr) registered_->Remove(memory());
    std::free(data_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // The same bytes for the same seed, and no two pages alike.
  void Fill(std::uint64_t seed) {
    std::uint64_t x = seed * 2 + 1;
    for (std::size_t i = 0; i < bytes_; ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      data_[i] = static_cast<std::byte>(x >> 56);
    }
  }

  std::byte* data() { return data_; }
  std::size_t size() const { return bytes_; }
  iovec Part(std::size_t offset, std::size_t bytes) { return {data_ + offset, bytes}; }
  iovec All() { return {data_, bytes_}; }

  // Where buffers made from now on are registered; null: nowhere.
  static inline mem::RegisteredMemory* register_in = nullptr;
  friend bool operator==(const Buffer& a, const Buffer& b) {
    return std::equal(a.data_, a.data_ + a.bytes_, b.data_, b.data_ + b.bytes_);
  }

 private:
  std::span<std::byte> memory() { return {data_, bytes_}; }

  std::byte* data_;
  std::size_t bytes_;
  mem::RegisteredMemory* const registered_ = register_in;
};

// An Io and the segments it needs.
struct TestIo : Io {
  TestIo() = default;
  TestIo(Op operation, std::uint64_t at, std::vector<iovec> parts)
      : own_segments(std::move(parts)) {
    op = operation;
    offset = at;
    for (const auto& part : own_segments) bytes += static_cast<std::uint32_t>(part.iov_len);
    segments = own_segments;
  }
  TestIo(const TestIo&) = delete;
  TestIo& operator=(const TestIo&) = delete;
  std::vector<iovec> own_segments;
};

// Owns a queue as a lane does: sleeps on the eventfd, or until NextPollNs, never spins.
class Owner {
 public:
  explicit Owner(Device& device) : event_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    auto queue = device.OpenQueue({.event_fd = event_fd_, .registered = Buffer::register_in});
    if (!queue) ADD_FAILURE() << queue.error().message;
    queue_ = std::move(*queue);
  }
  ~Owner() {
    queue_.reset();
    ::close(event_fd_);
  }

  Queue& queue() { return *queue_; }

  bool Submit(Io& io) {
    Io* one = &io;
    return queue_->Submit({&one, 1}) == 1;
  }

  // Waits for `count` Ios, at most ten seconds; fewer came where the result is shorter.
  std::vector<Io*> Wait(std::size_t count) {
    std::vector<Io*> got;
    const std::int64_t end = Clock::Monotonic().NowNs() + 10'000'000'000;
    while (true) {
      got.resize(count);
      std::size_t have = have_;
      std::size_t more;
      do {
        more = queue_->Poll(std::span(got).subspan(have));
        have += more;
      } while (more > 0 && have < count);
      got.resize(have);
      have_ = 0;
      if (have == count || Clock::Monotonic().NowNs() >= end) return got;
      have_ = have;
      Sleep(end);
    }
  }

  Status Run(Io& io) {
    if (!Submit(io)) return Status::kBusy;
    const auto done = Wait(1);
    if (done.size() != 1 || done[0] != &io) {
      ADD_FAILURE() << "the Io did not come back";
      std::abort();
    }
    return io.status;
  }

  // Until the eventfd or NextPollNs says that Poll may have something. False: nothing did by `end`.
  bool Sleep(std::int64_t end) {
    const std::int64_t until = std::min(end, queue_->NextPollNs());
    const std::int64_t rest = std::max<std::int64_t>(0, until - Clock::Monotonic().NowNs());
    const timespec timeout{rest / 1'000'000'000, rest % 1'000'000'000};
    pollfd poll{event_fd_, POLLIN, 0};
    std::uint64_t count;
    const bool woken = ::ppoll(&poll, 1, &timeout, nullptr) != 0 &&
                       (poll.revents == 0 || ::read(event_fd_, &count, sizeof count) > 0);
    return woken || until < end;
  }

 private:
  int event_fd_;
  std::size_t have_ = 0;
  std::unique_ptr<Queue> queue_;
};

}  // namespace kvpool::device
