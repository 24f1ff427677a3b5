#include "ipc/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "ipc/records.h"

namespace kvpool::ipc {
namespace {

// For the hello. From then on a daemon that hangs is waited for: it may still write into memory
// that is shared with it.
constexpr timeval kPatience{10, 0};
constexpr timeval kForever{0, 0};

Result<void> CheckOwner(const std::filesystem::path& path) {
  struct stat socket{};
  if (::stat(path.c_str(), &socket) != 0) {
    return Fail(Status::kNotFound,
                fmt::format("no daemon listens at {} ({}): start kvpoold, or leave out socket in "
                            "the pool file to open the pool in this process",
                            path.string(), std::strerror(errno)),
                errno);
  }
  if (socket.st_uid == 0 || socket.st_uid == ::geteuid()) return {};
  struct stat folder{};
  const auto parent = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const bool owners = ::stat(parent.c_str(), &folder) == 0 && folder.st_uid == socket.st_uid &&
                      (folder.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  if (owners) return {};
  return Fail(Status::kInvalid,
              fmt::format("{} belongs to user {}, and others may make a socket in that folder, so "
                          "it may not be the daemon's: let kvpoold listen in a folder of its own",
                          path.string(), socket.st_uid));
}

Error Gone() {
  return {Status::kCancelled, 0, "the daemon has gone: the pool can be used when it is back"};
}

}  // namespace

Result<std::shared_ptr<Connection>> Connection::Open(const std::filesystem::path& path) {
  if (auto owner = CheckOwner(path); !owner) return tl::unexpected(owner.error());
  auto connection = std::make_shared<Connection>();
  connection->path_ = path;
  connection->socket_ = Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = connection->socket_.get();
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    const bool refused = error == EACCES;
    return Fail(refused ? Status::kInvalid : Status::kNotFound,
                fmt::format("no daemon answers at {} ({}): {}", path.string(), std::strerror(error),
                            refused ? "have this user put into the socket's group"
                                    : "start kvpoold, or start it again"),
                error);
  }
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  if (auto said = connection->SayHello(); !said) return tl::unexpected(said.error());
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kForever, sizeof kForever);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kForever, sizeof kForever);
  return connection;
}

Result<void> Connection::SayHello() {
  MutexLock lock(mutex_);
  Hello hello;
  hello.program.Set(program_invocation_short_name);
  std::vector<Descriptor> none;
  SendAll(socket_.get(), BytesOf(hello), {}, true);
  const auto answer = WritableBytesOf(hello_);
  constexpr std::size_t kFixed = 16;  // the same in every version
  errno = 0;
  const bool heard = ReceiveAll(answer.first(kFixed), none);
  if (!heard && errno == EAGAIN) {
    return Fail(
        Status::kTimedOut,
        fmt::format("the daemon at {} does not answer: look whether it is stopped or hangs, "
                    "and start it again",
                    path_.string()));
  }
  if (!heard || hello_.magic != kHelloMagic) {
    return Fail(Status::kInvalid,
                fmt::format("what listens at {} is no kvpoold: name its socket", path_.string()));
  }
  if (hello_.version != kProtocolVersion || hello_.bytes != sizeof hello_) {
    return Fail(Status::kInvalid,
                fmt::format("the daemon at {} speaks version {} and this kvpool {}: use the same "
                            "kvpool on both sides",
                            path_.string(), hello_.version, kProtocolVersion));
  }
  if (!ReceiveAll(answer.subspan(kFixed), none)) return tl::unexpected(Gone());
  if (hello_.status == 0) return {};
  return Fail(static_cast<Status>(hello_.status), std::string(hello_.sentence.Get()));
}

bool Connection::ReceiveAll(std::span<std::byte> room, std::vector<Descriptor>& descriptors) {
  while (!room.empty()) {
    std::size_t got = 0;
    if (ReceiveSome(socket_.get(), room, true, got, descriptors) != Received::kSome) return false;
    room = room.subspan(got);
  }
  return true;
}

bool Connection::AwaitEnd(int stop, Bells& bells) {
  pollfd events[3]{{socket_.get(), POLLRDHUP, 0}, {stop, POLLIN, 0}, {bells.fd(), POLLIN, 0}};
  while (events[0].revents == 0 && events[1].revents == 0) {
    ::poll(events, 3, -1);
    if (events[2].revents != 0) bells.PassOn();
  }
  if (events[0].revents == 0) return false;
  ended_.store(true, std::memory_order_release);
  bells.CallAll();
  return true;
}

// Says goodbye; the daemon ends what is in flight before it closes its side.
Error Connection::Break() {
  broken_ = true;
  ::shutdown(socket_.get(), SHUT_WR);
  return Gone();
}

Result<Answer> Connection::Ask(MessageType type, std::span<const std::byte> question,
                               std::span<const int> descriptors) {
  MutexLock lock(mutex_);
  const MessageHeader header{.type = type,
                             .descriptors = static_cast<std::uint16_t>(descriptors.size()),
                             .bytes = static_cast<std::uint32_t>(question.size()),
                             .number = ++number_};
  std::vector<std::byte> message;
  AppendBytes(message, BytesOf(header));
  AppendBytes(message, question);
  Answer answer;
  MessageHeader back;
  AnswerHead head;
  const bool answered = !broken_ && SendAll(socket_.get(), message, descriptors, true) &&
                        ReceiveAll(WritableBytesOf(back), answer.descriptors) &&
                        back.magic == kMessageMagic && back.number == number_ &&
                        back.bytes >= sizeof head && back.bytes <= kMaxMessageBytes &&
                        ReceiveAll(WritableBytesOf(head), answer.descriptors) &&
                        head.sentence_bytes <= back.bytes - sizeof head;
  if (!answered) {
    return tl::unexpected(Break());
  }
  std::string sentence(head.sentence_bytes, '\0');
  answer.bytes.resize(back.bytes - sizeof head - head.sentence_bytes);
  if (!ReceiveAll(std::as_writable_bytes(std::span(sentence)), answer.descriptors) ||
      !ReceiveAll(answer.bytes, answer.descriptors)) {
    return tl::unexpected(Break());
  }
  if (head.status == 0) return answer;
  return Fail(static_cast<Status>(head.status), std::move(sentence), head.system_errno);
}

}  // namespace kvpool::ipc
