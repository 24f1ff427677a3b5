#include "ipc/client.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>

#include "ipc/records.h"

namespace kvpool::ipc {
namespace {

Error Down() {
  return {Status::kCancelled, 0,
          "the daemon has gone and is not back yet: start kvpoold again, then try again"};
}

Error Nonsense() {
  return {Status::kInvalid, 0, "the daemon's answer makes no sense: use the same kvpool for both"};
}

bool Before(const std::shared_ptr<ClientRegion>& a, const std::shared_ptr<ClientRegion>& b) {
  return a->memory->bytes().data() < b->memory->bytes().data();
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Connect(const std::filesystem::path& socket) {
  std::unique_ptr<Client> client(new Client);
  client->path_ = socket;
  client->stop_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!client->stop_ || client->bells_.fd() < 0) {
    return Fail(Status::kIoError,
                "a daemon's client finds no descriptors: raise the open file limit (ulimit -n)",
                errno);
  }
  auto connection = Connection::Open(socket);
  if (!connection) return tl::unexpected(connection.error());
  client->connection_ = std::move(*connection);
  client->watcher_ = std::thread([raw = client.get()] { raw->Run(); });
  return client;
}

Client::~Client() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
  if (watcher_.joinable()) watcher_.join();
}

std::shared_ptr<Connection> Client::connection() const {
  MutexLock lock(mutex_);
  return connection_ && !connection_->ended() ? connection_ : nullptr;
}

// Sees the daemon go, and finds the next one.
void Client::Run() {
  constexpr int kFirstPauseMs = 10;
  constexpr int kLongestPauseMs = 1000;
  int pause_ms = kFirstPauseMs;
  for (;;) {
    if (const auto present = connection()) {
      if (!present->AwaitEnd(stop_.get(), bells_)) return;
      pause_ms = kFirstPauseMs;
    }
    if (Reconnect()) continue;
    pollfd stop{stop_.get(), POLLIN, 0};
    if (::poll(&stop, 1, pause_ms) > 0) return;
    pause_ms = std::min(pause_ms * 2, kLongestPauseMs);
  }
}

bool Client::Reconnect() {
  auto connection = Connection::Open(path_);
  if (!connection) return false;
  MutexLock setup(setup_mutex_);
  std::vector<SpaceEntry> spaces;
  std::vector<std::shared_ptr<ClientRegion>> regions;
  {
    MutexLock lock(mutex_);
    spaces = spaces_;
    regions = regions_;
  }
  for (SpaceEntry& entry : spaces) {
    auto again = AskForSpace(**connection, entry.spec);
    if (!again) return false;
    entry = std::move(*again);
  }
  std::vector<std::uint32_t> numbers;
  for (const auto& region : regions) {
    const auto number = AskForRegion(**connection, *region);
    if (!number) return false;
    numbers.push_back(*number);
  }
  MutexLock lock(mutex_);
  for (std::size_t i = 0; i < regions.size(); ++i) regions[i]->number = numbers[i];
  spaces_ = std::move(spaces);
  connection_ = std::move(*connection);
  return true;
}

Result<Client::SpaceEntry> Client::AskForSpace(Connection& connection, const SpaceSpec& spec) {
  const auto question = EncodeSpace(spec);
  if (!question) {
    return Fail(Status::kInvalid, "a text of SpaceSpec has more than 4096 bytes: shorten it");
  }
  auto answer = connection.Ask(MessageType::kOpenSpace, *question);
  if (!answer) return tl::unexpected(answer.error());
  const auto record = RecordIn<SpaceAnswer>(answer->bytes);
  if (!record || answer->descriptors.size() != 1) return tl::unexpected(Nonsense());
  auto presence = SharedTable::Adopt(std::move(answer->descriptors[0]));
  if (!presence) return tl::unexpected(presence.error());
  return SpaceEntry{spec, {record->space, record->layers}, std::move(*presence)};
}

Result<Space> Client::OpenSpace(const SpaceSpec& spec) {
  MutexLock setup(setup_mutex_);
  const auto present = connection();
  if (!present) return tl::unexpected(Down());
  auto opened = AskForSpace(*present, spec);
  if (!opened) return tl::unexpected(opened.error());
  MutexLock lock(mutex_);
  for (std::uint32_t id = 0; id < spaces_.size(); ++id) {
    if (spaces_[id].opened.number == opened->opened.number) return Space{id};
  }
  spaces_.push_back(std::move(*opened));
  return Space{static_cast<std::uint32_t>(spaces_.size() - 1)};
}

std::optional<Client::OpenedSpace> Client::Find(Space space) const {
  MutexLock lock(mutex_);
  if (space.id >= spaces_.size()) return std::nullopt;
  return spaces_[space.id].opened;
}

std::shared_ptr<SharedTable> Client::Presence(Space space) {
  OpenedSpace opened;
  std::shared_ptr<Connection> present;
  {
    MutexLock lock(mutex_);
    if (space.id >= spaces_.size() || !connection_ || connection_->ended()) return nullptr;
    const auto& table = spaces_[space.id].presence;
    if (table->header().superseded.load(std::memory_order_acquire) == 0) return table;
  }
  MutexLock setup(setup_mutex_);
  {
    MutexLock lock(mutex_);
    opened = spaces_[space.id].opened;
    present = connection_;
  }
  const Named question{.id = opened.number};
  auto answer = present->Ask(MessageType::kPresence, BytesOf(question));
  if (!answer || answer->descriptors.size() != 1) return nullptr;
  auto table = SharedTable::Adopt(std::move(answer->descriptors[0]));
  if (!table) return nullptr;
  MutexLock lock(mutex_);
  spaces_[space.id].presence = *table;
  return *table;
}

Result<std::shared_ptr<const LentMemories>> Client::AskForLent(Connection& connection,
                                                               std::uint32_t space) {
  const Named question{.id = space};
  auto answer = connection.Ask(MessageType::kLentMemory, BytesOf(question));
  if (!answer) return tl::unexpected(answer.error());
  if (answer->bytes.size() != answer->descriptors.size() * sizeof(LentRecord)) {
    return tl::unexpected(Nonsense());
  }
  auto lent = std::make_shared<LentMemories>();
  for (std::size_t i = 0; i < answer->descriptors.size(); ++i) {
    const auto record = *RecordIn<LentRecord>(
        std::span(answer->bytes).subspan(i * sizeof(LentRecord), sizeof(LentRecord)));
    if (record.number >= kMaxDevices) return tl::unexpected(Nonsense());
    auto memory = mem::BorrowedMemory::Map(answer->descriptors[i], record.bytes);
    if (!memory) return tl::unexpected(memory.error());
    lent->resize(std::max<std::size_t>(lent->size(), record.number + 1));
    (*lent)[record.number] = std::move(*memory);
  }
  return lent;
}

std::shared_ptr<const LentMemories> Client::LentBy(const std::shared_ptr<Connection>& connection,
                                                   Space space) {
  {
    MutexLock lock(mutex_);
    if (space.id >= spaces_.size() || connection_ != connection) return nullptr;
    if (spaces_[space.id].lent) return spaces_[space.id].lent;
  }
  MutexLock setup(setup_mutex_);  // so the present daemon's numbers stay
  OpenedSpace opened;
  {
    MutexLock lock(mutex_);
    if (connection_ != connection) return nullptr;
    opened = spaces_[space.id].opened;
  }
  auto lent = AskForLent(*connection, opened.number);
  if (!lent) return nullptr;
  MutexLock lock(mutex_);
  spaces_[space.id].lent = *lent;
  return *lent;
}

Result<std::uint32_t> Client::AskForRegion(Connection& connection, const ClientRegion& region) {
  const RegionQuestion question{.bytes = region.memory->bytes().size(), .purpose = region.purpose};
  const int fd = region.memory->fd();
  auto answer = connection.Ask(MessageType::kAddRegion, BytesOf(question), {&fd, 1});
  if (!answer) return tl::unexpected(answer.error());
  const auto record = RecordIn<RegionAnswer>(answer->bytes);
  if (!record) return tl::unexpected(Nonsense());
  return record->region;
}

Result<std::shared_ptr<ClientRegion>> Client::AddRegion(std::uint64_t bytes, RegionPurpose purpose,
                                                        int numa_node, bool locked) {
  auto memory = mem::Region::Make(
      {.bytes = bytes, .numa_node = numa_node, .lock = locked, .populate = locked});
  if (!memory) return tl::unexpected(memory.error());
  auto region = std::make_shared<ClientRegion>();
  region->memory = std::move(*memory);
  region->purpose = purpose;
  MutexLock setup(setup_mutex_);
  if (const auto present = connection()) {
    const auto number = AskForRegion(*present, *region);
    // One that the daemon has gone from is sent to the next.
    if (!number && number.error().status != Status::kCancelled) {
      return tl::unexpected(number.error());
    }
    if (number) region->number = *number;
  }
  MutexLock lock(mutex_);
  regions_.insert(std::upper_bound(regions_.begin(), regions_.end(), region, Before), region);
  return region;
}

void Client::RemoveRegion(const std::shared_ptr<ClientRegion>& region) {
  MutexLock setup(setup_mutex_);
  {
    MutexLock lock(mutex_);
    std::erase(regions_, region);
  }
  const Named question{.id = region->number};
  if (const auto present = connection()) {
    (void)present->Ask(MessageType::kRemoveRegion, BytesOf(question));
  }
}

std::optional<Place> Client::Find(std::span<const std::byte> bytes) const {
  MutexLock lock(mutex_);
  const auto after = std::upper_bound(
      regions_.begin(), regions_.end(), bytes.data(),
      [](const std::byte* at, const auto& region) { return at < region->memory->bytes().data(); });
  if (after == regions_.begin()) return std::nullopt;
  const ClientRegion& region = **std::prev(after);
  const auto memory = region.memory->bytes();
  const auto offset = static_cast<std::uint64_t>(bytes.data() - memory.data());
  if (offset > memory.size() || bytes.size() > memory.size() - offset) return std::nullopt;
  if (region.purpose != RegionPurpose::kData) return std::nullopt;
  return Place{region.number, offset};
}

Result<PoolInfo> Client::Info() {
  const auto present = connection();
  if (!present) return tl::unexpected(Down());
  const auto answer = present->Ask(MessageType::kInfo, {});
  if (!answer) return tl::unexpected(answer.error());
  auto info = DecodeInfo(answer->bytes);
  if (!info) return tl::unexpected(Nonsense());
  return *info;
}

}  // namespace kvpool::ipc
