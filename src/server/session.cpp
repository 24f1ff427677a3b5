#include "server/session.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.h"
#include "ipc/records.h"

namespace kvpool::server {
namespace {

constexpr std::int64_t kHelloNs = 5'000'000'000;
constexpr std::size_t kReceiveBytes = 64 * kKiB;
constexpr const char* kLeft = "left";
constexpr const char* kSentAway = "was sent away: the daemon stops";
constexpr const char* kChanged = "was sent away: what it may do has changed";

std::string Broke(const std::string& what) { return "broke the protocol: " + what; }

}  // namespace

Session::Session(Descriptor socket, SessionParts parts)
    : parts_(std::move(parts)),
      away_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      socket_(std::move(socket)),
      grants_(*parts_.pool, *parts_.spaces, parts_.access, parts_.client_number, parts_.leases,
              parts_.descriptors),
      thread_([this] { Run(); }) {}

Session::~Session() { thread_.join(); }

void Session::SendAway() {
  MutexLock lock(away_mutex_);
  if (!away_) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(away_.get(), &one, sizeof one);
}

void Session::Run() {
  prctl(PR_SET_NAME, "kvpool-client");
  End end = SayHello();
  while (end.empty()) end = Work();
  Finish();
  if (place_) parts_.roster->Remove(*place_);
  const bool harmless = end == kLeft || end == kSentAway || end == kChanged;
  parts_.log({.level = harmless ? LogLevel::kInfo : LogLevel::kWarning,
              .event = "client_gone",
              .message = fmt::format("client {} {}", parts_.client, end),
              .fields = {{"client", parts_.client}, {"reason", end}}});
  done_.store(true, std::memory_order_release);
}

// Requests in flight end first; only then does the client learn that nothing is touched any more.
void Session::Finish() {
  for (const auto& [number, channel] : grants_.channels()) channel->Close();
  const auto idle = [&] {
    return std::all_of(grants_.channels().begin(), grants_.channels().end(),
                       [](const auto& one) { return one.second->idle(); });
  };
  while (!idle()) {
    bool moved = false;
    (void)StepChannels(moved);
    if (moved) continue;
    std::vector<pollfd> events;
    for (const auto& [number, channel] : grants_.channels())
      events.push_back({channel->event_fd(), POLLIN, 0});
    ::poll(events.data(), events.size(), 1000);
  }
  grants_.TakeBack();
  descriptors_.clear();
  socket_ = Descriptor();
  MutexLock lock(away_mutex_);
  away_ = Descriptor();
}

Session::End Session::SayHello() {
  const std::int64_t until = Clock::Monotonic().NowNs() + kHelloNs;
  ipc::Hello hello;
  auto room = ipc::WritableBytesOf(hello);
  while (!room.empty()) {
    const std::int64_t left_ms = (until - Clock::Monotonic().NowNs()) / 1'000'000;
    pollfd events[2]{{socket_.get(), POLLIN, 0}, {parts_.stop, POLLIN, 0}};
    if (left_ms <= 0) return "said no whole hello in 5 s";
    ::poll(events, 2, static_cast<int>(left_ms));
    if (events[1].revents != 0) return kSentAway;
    std::size_t got = 0;
    const auto received = ipc::ReceiveSome(socket_.get(), room, false, got, descriptors_);
    if (!descriptors_.empty()) return Broke("descriptors with the hello");
    if (received == ipc::Received::kNothing) continue;
    if (received != ipc::Received::kSome) return "left before its hello";
    room = room.subspan(got);
    // A client of another version may have less to say than this one.
    if (sizeof hello - room.size() >= 16 &&
        (hello.magic != ipc::kHelloMagic || hello.version != ipc::kProtocolVersion)) {
      break;
    }
  }
  if (hello.magic != ipc::kHelloMagic) return Broke("this is no hello");
  ipc::HelloAnswer answer;
  answer.pool.Set(parts_.pool->info().name);
  std::string refusal = parts_.refusal;
  if (hello.version != ipc::kProtocolVersion) {
    refusal = fmt::format("it speaks version {} and the daemon {}: use the same kvpool for both",
                          hello.version, ipc::kProtocolVersion);
  }
  if (!refusal.empty()) answer.status = static_cast<std::uint32_t>(Status::kInvalid);
  answer.sentence.Set(refusal);
  const bool sent = ipc::SendAll(socket_.get(), ipc::BytesOf(answer), {}, false);
  if (!refusal.empty()) return "was refused: " + refusal;
  if (!sent) return kLeft;
  if (parts_.roster != nullptr) {
    place_ = parts_.roster->Add({.pid = static_cast<std::uint32_t>(parts_.peer.pid),
                                 .uid = parts_.peer.uid,
                                 .program = std::string(hello.program.Get()),
                                 .since_ns = Clock::Monotonic().NowNs()});
  }
  parts_.log(
      {.event = "client_here",
       .message = fmt::format("client {} is here: {}", parts_.client, hello.program.Get()),
       .fields = {{"client", parts_.client}, {"program", std::string(hello.program.Get())}}});
  return {};
}

Session::End Session::StepChannels(bool& moved) {
  for (const auto& [number, channel] : grants_.channels()) {
    switch (grants_.Step(*channel)) {
      case SessionChannel::Moved::kViolation:
        return Broke("a counter or an id of its rings is impossible");
      case SessionChannel::Moved::kSomething:
        moved = true;
        break;
      case SessionChannel::Moved::kNothing:
        break;
    }
  }
  return {};
}

Session::End Session::Work() {
  bool moved = false;
  if (End end = StepChannels(moved); !end.empty()) return end;
  if (moved) return {};
  std::vector<pollfd> events{
      {socket_.get(), POLLIN, 0}, {parts_.stop, POLLIN, 0}, {away_.get(), POLLIN, 0}};
  bool asleep = true;
  for (const auto& [number, channel] : grants_.channels()) {
    asleep = channel->GoToSleep() && asleep;
    events.push_back({channel->event_fd(), POLLIN, 0});
    events.push_back({channel->bell(), POLLIN, 0});
  }
  ::poll(events.data(), events.size(), asleep ? -1 : 0);
  if (events[1].revents != 0) return kSentAway;
  if (events[2].revents != 0) return kChanged;
  if (events[0].revents != 0) return ReceiveMessages();
  return {};
}

Session::End Session::ReceiveMessages() {
  const std::size_t before = received_.size();
  received_.resize(before + kReceiveBytes);
  std::size_t got = 0;
  const auto received = ipc::ReceiveSome(socket_.get(), std::span(received_).subspan(before), false,
                                         got, descriptors_);
  received_.resize(before + got);
  if (received == ipc::Received::kEnd) return kLeft;
  // None is kept for long: there is one message at a time, and no type comes with more than one.
  if (received == ipc::Received::kTooMany || descriptors_.size() > 1) {
    return Broke("too many descriptors");
  }
  std::size_t at = 0;
  while (received_.size() - at >= sizeof(ipc::MessageHeader)) {
    const auto all = std::span<const std::byte>(received_).subspan(at);
    const auto header = *ipc::RecordIn<ipc::MessageHeader>(all.first(sizeof(ipc::MessageHeader)));
    if (header.magic != ipc::kMessageMagic || header.bytes > ipc::kMaxMessageBytes) {
      return Broke("this is no message");
    }
    if (all.size() < sizeof header + header.bytes) break;
    if (End end = Handle(header, all.subspan(sizeof header, header.bytes)); !end.empty()) {
      return end;
    }
    at += sizeof header + header.bytes;
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(at));
  return {};
}

Session::End Session::Handle(const ipc::MessageHeader& header,
                             std::span<const std::byte> question) {
  if (!Grants::MayBring(header.type, header.descriptors) ||
      header.descriptors != descriptors_.size()) {
    return Broke("a wrong number of descriptors");
  }
  const auto reply = header.type == ipc::MessageType::kStatus
                         ? StatusReply(question)
                         : grants_.Answer(header.type, question, descriptors_);
  descriptors_.clear();
  return Send(header.number, header.type, reply) ? End() : "does not read its answers";
}

// What others do with the pool is not for every client to see.
Result<Reply> Session::StatusReply(std::span<const std::byte> question) const {
  if (!question.empty()) {
    return Fail(Status::kInvalid, "this question makes no sense: use the same kvpool for both");
  }
  if (!parts_.status) {
    return Fail(Status::kUnsupported,
                "only root and the daemon's user may see what its clients do: run this as one of "
                "them");
  }
  Reply reply;
  const std::string status = parts_.status();
  ipc::AppendBytes(reply.bytes, std::as_bytes(std::span(status)));
  return reply;
}

bool Session::Send(std::uint32_t number, ipc::MessageType type, const Result<Reply>& reply) {
  ipc::AnswerHead head;
  std::string sentence;
  if (!reply) {
    sentence = reply.error().message;
    head.status = static_cast<std::uint32_t>(reply.error().status);
    head.system_errno = reply.error().system_errno;
  }
  head.sentence_bytes = static_cast<std::uint32_t>(sentence.size());
  const std::size_t bytes = sizeof head + sentence.size() + (reply ? reply->bytes.size() : 0);
  const ipc::MessageHeader header{
      .type = type,
      .descriptors = static_cast<std::uint16_t>(reply ? reply->descriptors.size() : 0),
      .bytes = static_cast<std::uint32_t>(bytes),
      .number = number};
  std::vector<std::byte> message;
  ipc::AppendBytes(message, ipc::BytesOf(header));
  ipc::AppendBytes(message, ipc::BytesOf(head));
  ipc::AppendBytes(message, std::as_bytes(std::span(sentence)));
  if (reply) ipc::AppendBytes(message, reply->bytes);
  const std::span<const int> descriptors =
      reply ? std::span<const int>(reply->descriptors) : std::span<const int>();
  return ipc::SendAll(socket_.get(), message, descriptors, false);
}

}  // namespace kvpool::server
