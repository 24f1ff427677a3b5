#include "server/session.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/clock.h"
#include "ipc/records.h"

namespace kvpool::server {
namespace {

constexpr std::int64_t kHelloNs = 5'000'000'000;
constexpr std::size_t kReceiveBytes = 64 * kKiB;
constexpr const char* kLeft = "left";

std::string Broke(const std::string& what) { return "broke the protocol: " + what; }

tl::unexpected<Error> Nonsense() {
  return Fail(Status::kInvalid, "this question makes no sense: use the same kvpool for both");
}

bool IsPowerOfTwo(std::uint32_t number) { return number != 0 && (number & (number - 1)) == 0; }

std::size_t DescriptorsOf(ipc::MessageType type) {
  return type == ipc::MessageType::kAddRegion ? 1 : 0;
}

}  // namespace

Session::Session(Descriptor socket, SessionParts parts)
    : parts_(std::move(parts)), socket_(std::move(socket)), thread_([this] { Run(); }) {}

Session::~Session() { thread_.join(); }

void Session::Run() {
  prctl(PR_SET_NAME, "kvpool-client");
  End end = SayHello();
  while (end.empty()) end = Work();
  Finish();
  parts_.log(fmt::format("client {} {}", parts_.client, end));
  done_.store(true, std::memory_order_release);
}

// Requests in flight end first; only then does the client learn that nothing is touched any more.
void Session::Finish() {
  for (auto& [number, channel] : channels_) channel->Close();
  const auto idle = [&] {
    return std::all_of(channels_.begin(), channels_.end(),
                       [](const auto& one) { return one.second->idle(); });
  };
  while (!idle()) {
    bool moved = false;
    (void)StepChannels(moved);
    if (moved) continue;
    std::vector<pollfd> events;
    for (auto& [number, channel] : channels_) events.push_back({channel->event_fd(), POLLIN, 0});
    ::poll(events.data(), events.size(), 1000);
  }
  channels_.clear();
  regions_.clear();
  descriptors_.clear();
  socket_ = Descriptor();
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
    if (events[1].revents != 0) return "was sent away: the daemon stops";
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
  ipc::HelloAnswer answer{.deadline_ns = parts_.deadline_ns};
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
  parts_.log(fmt::format("client {} is here: {}", parts_.client, hello.program.Get()));
  return {};
}

Session::End Session::StepChannels(bool& moved) {
  for (auto& [number, channel] : channels_) {
    switch (channel->Step(regions_, spaces_)) {
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
  std::vector<pollfd> events{{socket_.get(), POLLIN, 0}, {parts_.stop, POLLIN, 0}};
  bool asleep = true;
  for (auto& [number, channel] : channels_) {
    asleep = channel->GoToSleep() && asleep;
    events.push_back({channel->event_fd(), POLLIN, 0});
    events.push_back({channel->bell(), POLLIN, 0});
  }
  ::poll(events.data(), events.size(), asleep ? -1 : 0);
  if (events[1].revents != 0) return "was sent away: the daemon stops";
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
  if (received == ipc::Received::kTooMany) return Broke("too many descriptors");
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
  if (header.descriptors != DescriptorsOf(header.type) ||
      header.descriptors != descriptors_.size()) {
    return Broke("a wrong number of descriptors");
  }
  const auto reply = Carry(header.type, question);
  descriptors_.clear();
  return Send(header.number, header.type, reply) ? End() : "does not read its answers";
}

Result<Session::Reply> Session::Carry(ipc::MessageType type, std::span<const std::byte> question) {
  switch (type) {
    case ipc::MessageType::kOpenSpace:
      return OpenSpace(question);
    case ipc::MessageType::kOpenChannel:
      return OpenChannel(question);
    case ipc::MessageType::kCloseChannel:
      return CloseChannel(question);
    case ipc::MessageType::kAddRegion:
      return AddRegion(question);
    case ipc::MessageType::kRemoveRegion:
      return RemoveRegion(question);
    case ipc::MessageType::kInfo:
      return Reply{ipc::EncodeInfo(parts_.pool->info()), {}, {}};
    case ipc::MessageType::kPresence:
      return Presence(question);
  }
  return Nonsense();
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

Result<Session::Reply> Session::OpenSpace(std::span<const std::byte> question) {
  const auto spec = ipc::DecodeSpace(question);
  if (!spec) return Nonsense();
  const auto space = parts_.pool->OpenSpace(*spec);
  if (!space) return tl::unexpected(space.error());
  const auto table = parts_.spaces->TableOf(*space);
  if (!table) return tl::unexpected(table.error());
  auto known = std::find_if(spaces_.begin(), spaces_.end(),
                            [&](const Space& one) { return one.id == space->id; });
  if (known == spaces_.end()) {
    if (spaces_.size() == ipc::kMaxClientSpaces) {
      return Fail(Status::kNoSpace, "a client opens at most 1024 spaces: use another process");
    }
    known = spaces_.insert(known, *space);
  }
  const ipc::SpaceAnswer answer{.space = static_cast<std::uint32_t>(known - spaces_.begin()),
                                .layers = spec->layers};
  Reply reply{{}, {(*table)->fd()}, {}};
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  return reply;
}

Result<Session::Reply> Session::Presence(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  if (!named || named->id >= spaces_.size()) return Nonsense();
  const auto table = parts_.spaces->TableOf(spaces_[named->id]);
  if (!table) return tl::unexpected(table.error());
  return Reply{{}, {(*table)->fd()}, {}};
}

Result<Session::Reply> Session::OpenChannel(std::span<const std::byte> question) {
  const auto asked = ipc::RecordIn<ipc::ChannelQuestion>(question);
  if (!asked || !IsPowerOfTwo(asked->depth) || asked->depth > ipc::kMaxDepth) return Nonsense();
  if (channels_.size() == ipc::kMaxClientChannels) {
    return Fail(Status::kNoSpace, "a client opens at most 64 channels: close one");
  }
  auto channel = SessionChannel::Open(*parts_.pool, asked->depth);
  if (!channel) return tl::unexpected(channel.error());
  const ipc::ChannelAnswer answer{.channel = next_number_, .depth = asked->depth};
  Reply reply;
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  reply.owned = (*channel)->TakeClientBell();
  reply.descriptors = {(*channel)->memory_fd(), reply.owned.get()};
  channels_[next_number_++] = std::move(*channel);
  return reply;
}

Result<Session::Reply> Session::CloseChannel(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  if (!named || channels_.erase(named->id) == 0) return Nonsense();
  return Reply{};
}

Result<Session::Reply> Session::AddRegion(std::span<const std::byte> question) {
  const auto asked = ipc::RecordIn<ipc::RegionQuestion>(question);
  if (!asked) return Nonsense();
  if (regions_.size() == ipc::kMaxClientRegions ||
      asked->bytes > ipc::kMaxClientRegionBytes - region_bytes_) {
    return Fail(Status::kNoSpace,
                "a client shares at most 256 regions and 1 TiB with the daemon: allocate fewer and "
                "larger ones, or free some");
  }
  auto memory = mem::Region::Adopt(descriptors_.front().Release(), asked->bytes);
  if (!memory) return tl::unexpected(memory.error());
  auto region = std::make_shared<SessionRegion>();
  region->memory = std::move(*memory);
  if (asked->purpose == ipc::RegionPurpose::kData) {
    auto registered = parts_.pool->Register(region->memory->bytes());
    if (!registered) return tl::unexpected(registered.error());
    region->registered = std::move(*registered);
  }
  region_bytes_ += asked->bytes;
  const ipc::RegionAnswer answer{.region = next_number_};
  regions_[next_number_++] = std::move(region);
  Reply reply;
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  return reply;
}

Result<Session::Reply> Session::RemoveRegion(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  const auto region = named ? regions_.find(named->id) : regions_.end();
  if (region == regions_.end()) return Nonsense();
  // Requests that are in flight there hold on to it.
  region_bytes_ -= region->second->memory->bytes().size();
  regions_.erase(region);
  return Reply{};
}

}  // namespace kvpool::server
