#include "ipc/wire.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace kvpool::ipc {

bool SendAll(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors,
             bool wait) {
  std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  while (!bytes.empty()) {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
    descriptors = {};
  }
  return true;
}

namespace {

// False: more than there may be.
bool TakeDescriptors(msghdr& message, std::vector<Descriptor>& descriptors) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return (message.msg_flags & MSG_CTRUNC) == 0 && descriptors.size() <= kMaxDescriptors;
}

}  // namespace

Received ReceiveSome(int socket, std::span<std::byte> room, bool wait, std::size_t& got,
                     std::vector<Descriptor>& descriptors) {
  got = 0;
  std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec part{room.data(), room.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  for (;;) {
    const ssize_t received =
        ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return wait ? Received::kTimedOut : Received::kNothing;
    }
    if (received <= 0) return Received::kEnd;
    got = static_cast<std::size_t>(received);
    return TakeDescriptors(message, descriptors) ? Received::kSome : Received::kTooMany;
  }
}

void Ring(int bell) {
  const char call = 1;
  // Where it is full the other side has calls enough.
  [[maybe_unused]] const ssize_t sent = ::send(bell, &call, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool Hush(int bell) {
  std::array<char, 64> calls;
  for (;;) {
    const ssize_t got = ::recv(bell, calls.data(), calls.size(), MSG_DONTWAIT);
    if (got == static_cast<ssize_t>(calls.size()) || (got < 0 && errno == EINTR)) continue;
    if (got == 0) return false;
    return got > 0 || errno == EAGAIN || errno == EWOULDBLOCK;
  }
}

}  // namespace kvpool::ipc
