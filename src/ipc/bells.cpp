#include "ipc/bells.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>

namespace kvpool::ipc {
namespace {

void Call(int event_fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_fd, &one, sizeof one);
}

}  // namespace

Bells::Bells() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

void Bells::Add(int bell, int event_fd) {
  MutexLock lock(mutex_);
  event_fds_[bell] = event_fd;
  // Once for each call: its channel takes what has arrived whenever it likes.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = bell;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell, &event);
}

void Bells::Remove(int bell) {
  MutexLock lock(mutex_);
  if (event_fds_.erase(bell) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, bell, nullptr);
}

void Bells::PassOn() {
  MutexLock lock(mutex_);
  epoll_event events[kAtOnce];
  const int count = ::epoll_wait(epoll_.get(), events, kAtOnce, 0);
  for (int i = 0; i < count; ++i) {
    const auto found = event_fds_.find(events[i].data.fd);
    if (found != event_fds_.end()) Call(found->second);
  }
}

void Bells::CallAll() {
  MutexLock lock(mutex_);
  for (const auto& [bell, event_fd] : event_fds_) Call(event_fd);
}

}  // namespace kvpool::ipc
