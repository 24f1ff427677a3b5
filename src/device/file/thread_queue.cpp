#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/mutex.h"
#include "device/file/drive.h"
#include "device/io_check.h"
#include "device/io_list.h"

namespace kvpool::device {
namespace {

constexpr unsigned kThreads = 4;
constexpr unsigned kMaxHeld = 128;  // Ios that one queue has taken and not handed back

class ThreadQueue final : public Queue {
 public:
  ThreadQueue(const Drive& drive, const QueueOptions& options)
      : drive_(drive), traits_(*drive.traits), event_fd_(options.event_fd) {}
  ~ThreadQueue() override;

  void Start();  // throws std::system_error where threads are short

  std::size_t Submit(std::span<Io* const> ios) override;
  std::size_t Poll(std::span<Io*> done) override;
  void Cancel(Io& io) override;

 private:
  void Work();
  void Transfer(Io& io) const;
  ssize_t Step(const Io& io) const;
  void Finish(Io& io);

  const Drive& drive_;
  const Traits& traits_;
  const int event_fd_;
  unsigned held_ = 0;  // the owner's

  Mutex mutex_;
  std::condition_variable_any wake_;
  IoList pending_ KVPOOL_GUARDED_BY(mutex_);
  IoList done_ KVPOOL_GUARDED_BY(mutex_);
  bool stop_ KVPOOL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

ThreadQueue::~ThreadQueue() {
  KVPOOL_CHECK(held_ == 0);
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadQueue::Start() {
  threads_.reserve(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this] { Work(); });
    ::pthread_setname_np(threads_.back().native_handle(), "kvpool-io");
  }
}

std::size_t ThreadQueue::Submit(std::span<Io* const> ios) {
  std::size_t taken = 0;
  bool invalid = false;
  {
    MutexLock lock(mutex_);
    for (; taken < ios.size() && held_ < kMaxHeld; ++taken, ++held_) {
      Io& io = *ios[taken];
      io.queue_progress = 0;
      io.status = IsValid(io, traits_) ? Status::kOk : Status::kInvalid;
      invalid |= io.status != Status::kOk;
      (io.status == Status::kOk ? pending_ : done_).Push(io);
    }
  }
  wake_.notify_all();
  if (invalid) Notify(event_fd_);
  return taken;
}

std::size_t ThreadQueue::Poll(std::span<Io*> done) {
  MutexLock lock(mutex_);
  const std::size_t count = done_.PopInto(done);
  held_ -= static_cast<unsigned>(count);
  return count;
}

// A transfer that a thread is in cannot be interrupted: it comes back when the kernel is through.
void ThreadQueue::Cancel(Io& io) {
  {
    MutexLock lock(mutex_);
    if (!pending_.Remove(io)) return;
    io.status = Status::kCancelled;
    done_.Push(io);
  }
  Notify(event_fd_);
}

void ThreadQueue::Work() {
  while (true) {
    Io* io = nullptr;
    {
      MutexLock lock(mutex_);
      while (!stop_ && pending_.empty()) wake_.wait(mutex_);
      if (stop_) return;
      io = pending_.Pop();
    }
    Transfer(*io);
    Finish(*io);
  }
}

void ThreadQueue::Finish(Io& io) {
  {
    MutexLock lock(mutex_);
    done_.Push(io);
  }
  Notify(event_fd_);
}

void ThreadQueue::Transfer(Io& io) const {
  ssize_t answer;
  do {
    answer = Step(io);
    if (answer < 0) answer = -errno;
  } while (Advance(io, answer, traits_.alignment));
}

ssize_t ThreadQueue::Step(const Io& io) const {
  if (io.op == Op::kFlush) return ::fdatasync(drive_.fd);
  const auto progress = Progress(io);
  const auto offset = static_cast<off_t>(drive_.first_byte + io.offset + progress);
  iovec rest;
  std::span<const iovec> parts = io.segments;
  if (progress > 0) {
    rest = Rest(io);
    parts = {&rest, 1};
  }
  const int count = static_cast<int>(parts.size());
  return io.op == Op::kRead ? ::preadv(drive_.fd, parts.data(), count, offset)
                            : ::pwritev(drive_.fd, parts.data(), count, offset);
}

}  // namespace

Result<std::unique_ptr<Queue>> OpenThreadQueue(const Drive& drive, const QueueOptions& options) {
  auto queue = std::make_unique<ThreadQueue>(drive, options);
  try {
    queue->Start();
  } catch (const std::system_error& error) {
    return Fail(Status::kNoSpace,
                fmt::format("no threads for {}: {}; raise the limit on processes (ulimit -u)",
                            drive.traits->name, error.what()),
                error.code().value());
  }
  return queue;
}

}  // namespace kvpool::device
