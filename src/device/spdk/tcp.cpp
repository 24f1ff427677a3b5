#include "device/spdk/tcp.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/descriptor.h"

namespace kvpool::device {
namespace {

constexpr int kTimeoutMs = 1'000;

// 0, or the errno with which nobody can be reached.
int Reach(const SpdkAddress& address) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.traddr.c_str(), address.trsvcid.c_str(), &hints, &found) != 0) {
    return EADDRNOTAVAIL;
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> place(found, &::freeaddrinfo);
  const Descriptor fd(
      ::socket(place->ai_family, place->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  if (::connect(fd.get(), place->ai_addr, place->ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd poll{fd.get(), POLLOUT, 0};
  int ready;
  do {
    ready = ::poll(&poll, 1, kTimeoutMs);
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

}  // namespace

Result<void> CheckTcpTarget(const SpdkAddress& address) {
  const int error = Reach(address);
  if (error == 0) return {};
  return Fail(Status::kNotFound,
              fmt::format("no NVMe/TCP target answers at {} port {}: {}; start it, or correct "
                          "traddr and trsvcid",
                          address.traddr, address.trsvcid, std::strerror(error)),
              error);
}

}  // namespace kvpool::device
