#include "server/grants.h"

#include <algorithm>

#include "ipc/records.h"

namespace kvpool::server {
namespace {

tl::unexpected<Error> Nonsense() {
  return Fail(Status::kInvalid, "this question makes no sense: use the same kvpool for both");
}

bool IsPowerOfTwo(std::uint32_t number) { return number != 0 && (number & (number - 1)) == 0; }

}  // namespace

bool Grants::MayBring(ipc::MessageType type, std::size_t descriptors) {
  switch (type) {
    case ipc::MessageType::kAddRegion:
      return descriptors == 1;
    case ipc::MessageType::kAddGpuRegion:
      return descriptors <= 1;
    default:
      return descriptors == 0;
  }
}

void Grants::TakeBack() {
  channels_.clear();
  channel_descriptors_.clear();
  regions_.clear();
  for (const std::uint32_t id : lent_spaces_) pool_.TrimLent(Space{id});
  lent_spaces_.clear();
  spaces_.clear();
}

Result<Reply> Grants::Answer(ipc::MessageType type, std::span<const std::byte> question,
                             std::span<Descriptor> descriptors) {
  switch (type) {
    case ipc::MessageType::kOpenSpace:
      return OpenSpace(question);
    case ipc::MessageType::kOpenChannel:
      return OpenChannel(question);
    case ipc::MessageType::kCloseChannel:
      return CloseChannel(question);
    case ipc::MessageType::kAddRegion:
      return AddRegion(question, descriptors.front());
    case ipc::MessageType::kAddGpuRegion:
      return AddGpuRegion(question, descriptors);
    case ipc::MessageType::kRemoveRegion:
      return RemoveRegion(question);
    case ipc::MessageType::kInfo:
      return Info();
    case ipc::MessageType::kPresence:
      return Presence(question);
    case ipc::MessageType::kLentMemory:
      return LentMemory(question);
    case ipc::MessageType::kStatus:
      break;  // the session's
  }
  return Nonsense();
}

Result<Reply> Grants::OpenSpace(std::span<const std::byte> question) {
  const auto spec = ipc::DecodeSpace(question);
  if (!spec) return Nonsense();
  const auto granted = access_.Grant(*spec);
  if (!granted) return tl::unexpected(granted.error());
  const auto shared = shared_.Open(granted->spec, access_.tenant);
  if (!shared) return tl::unexpected(shared.error());
  const Space space = (*shared)->space();
  auto known = std::find_if(spaces_.begin(), spaces_.end(),
                            [&](const GrantedSpace& one) { return one.space.id == space.id; });
  if (known == spaces_.end() && spaces_.size() == ipc::kMaxClientSpaces) {
    return Fail(Status::kNoSpace, "a client opens at most 1024 spaces: use another process");
  }
  const auto table = (*shared)->Table();
  if (!table) return tl::unexpected(table.error());
  if (known == spaces_.end()) {
    known = spaces_.insert(known, {space, granted->writable, *shared});
  }
  const ipc::SpaceAnswer answer{.space = static_cast<std::uint32_t>(known - spaces_.begin()),
                                .layers = spec->layers};
  Reply reply{.descriptors = {(*table)->fd()}, .table = *table};
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  return reply;
}

Result<Reply> Grants::Info() const {
  PoolInfo info = pool_.info();
  if (!access_.sees_all) {
    info.tenants = {info.tenants.at(access_.tenant.number - 1)};
  }
  return Reply{.bytes = ipc::EncodeInfo(info)};
}

Result<Reply> Grants::Presence(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  if (!named || named->id >= spaces_.size()) return Nonsense();
  const auto table = spaces_[named->id].shared->Table();
  if (!table) return tl::unexpected(table.error());
  return Reply{.descriptors = {(*table)->fd()}, .table = *table};
}

Result<Reply> Grants::LentMemory(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  if (!named || named->id >= spaces_.size()) return Nonsense();
  const Space space = spaces_[named->id].space;
  Reply reply;
  const auto lent = pool_.Lent(space);
  for (std::uint32_t number = 0; number < lent.size(); ++number) {
    if (lent[number] == nullptr) continue;
    auto opened = lent[number]->ForBorrowers();
    if (!opened) return tl::unexpected(opened.error());
    const ipc::LentRecord record{.number = number, .bytes = lent[number]->bytes().size()};
    ipc::AppendBytes(reply.bytes, ipc::BytesOf(record));
    reply.descriptors.push_back(opened->get());
    reply.opened.push_back(std::move(*opened));
  }
  lent_spaces_.insert(space.id);
  return reply;
}

Result<Reply> Grants::OpenChannel(std::span<const std::byte> question) {
  const auto asked = ipc::RecordIn<ipc::ChannelQuestion>(question);
  if (!asked || !IsPowerOfTwo(asked->depth) || asked->depth > ipc::kMaxDepth) return Nonsense();
  if (auto may = access_.MayUse(); !may) return tl::unexpected(may.error());
  if (channels_.size() == ipc::kMaxClientChannels) {
    return Fail(Status::kNoSpace, "a client opens at most 64 channels: close one");
  }
  auto taken = Take(DescriptorShares::kOfChannel);
  if (!taken) return tl::unexpected(taken.error());
  auto channel = SessionChannel::Open(
      pool_, asked->depth,
      {.tenant = access_.tenant.number, .tenant_weight = access_.tenant.weight, .client = client_},
      leases_);
  if (!channel) return tl::unexpected(channel.error());
  const ipc::ChannelAnswer answer{.channel = next_number_, .depth = asked->depth};
  Reply reply;
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  reply.bell = (*channel)->TakeClientBell();
  reply.descriptors = {(*channel)->memory_fd(), reply.bell.get()};
  channel_descriptors_[next_number_] = std::move(*taken);
  channels_[next_number_++] = std::move(*channel);
  return reply;
}

Result<SharedLimit::Taken> Grants::Take(std::size_t descriptors) {
  if (descriptors_ == nullptr) return SharedLimit::Taken();
  return descriptors_->Take(access_.tenant, descriptors);
}

Result<Reply> Grants::CloseChannel(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  if (!named || channels_.erase(named->id) == 0) return Nonsense();
  channel_descriptors_.erase(named->id);
  return Reply{};
}

Result<Reply> Grants::AddRegion(std::span<const std::byte> question, Descriptor& from) {
  const auto asked = ipc::RecordIn<ipc::RegionQuestion>(question);
  if (!asked) return Nonsense();
  if (auto may = access_.MayUse(); !may) return tl::unexpected(may.error());
  if (auto room = HasRoomFor(asked->bytes); !room) return tl::unexpected(room.error());
  auto taken = Take(DescriptorShares::kOfRegion);
  if (!taken) return tl::unexpected(taken.error());
  auto memory = mem::Region::Adopt(from.Release(), asked->bytes);
  if (!memory) return tl::unexpected(memory.error());
  auto region = std::make_shared<SessionRegion>();
  region->descriptor = std::move(*taken);
  region->memory = std::move(*memory);
  if (asked->purpose == ipc::RegionPurpose::kData) {
    auto registered = pool_.Register(region->memory->bytes());
    if (!registered) return tl::unexpected(registered.error());
    region->registered = std::move(*registered);
  }
  return Keep(std::move(region));
}

Result<void> Grants::HasRoomFor(std::uint64_t bytes) const {
  if (regions_.size() < ipc::kMaxClientRegions &&
      bytes <= ipc::kMaxClientRegionBytes - region_bytes_) {
    return {};
  }
  return Fail(Status::kNoSpace,
              "a client shares at most 256 regions and 1 TiB with the daemon: allocate fewer and "
              "larger ones, or free some");
}

Result<Reply> Grants::Keep(std::shared_ptr<SessionRegion> region) {
  region_bytes_ += region->bytes().size();
  const ipc::RegionAnswer answer{.region = next_number_};
  regions_[next_number_++] = std::move(region);
  Reply reply;
  ipc::AppendBytes(reply.bytes, ipc::BytesOf(answer));
  return reply;
}

Result<Reply> Grants::AddGpuRegion(std::span<const std::byte> question,
                                   std::span<Descriptor> descriptors) {
  const auto asked = ipc::RecordIn<ipc::GpuRegionQuestion>(question);
  if (!asked || asked->bytes == 0) return Nonsense();
  if (auto may = access_.MayUse(); !may) return tl::unexpected(may.error());
  if (auto room = HasRoomFor(asked->bytes); !room) return tl::unexpected(room.error());
  // Who brings a descriptor has it; the bytes of a handle may be another tenant's.
  if (access_.tenants && !access_.sees_all && descriptors.empty()) {
    return Fail(Status::kForbidden,
                "the pool has tenants, and CUDA's handles do not say whose memory they are of: "
                "bring the bytes to host memory, or leave out [[tenant]]");
  }
  auto taken = Take(DescriptorShares::kOfRegion);
  if (!taken) return tl::unexpected(taken.error());
  gpu::Handle handle{.bytes = asked->handle};
  if (!descriptors.empty()) handle.descriptor = std::move(descriptors.front());
  auto imported = pool_.ImportGpuMemory(asked->gpu.Get(), std::move(handle), asked->bytes);
  if (!imported) return tl::unexpected(imported.error());
  auto region = std::make_shared<SessionRegion>();
  region->descriptor = std::move(*taken);
  region->gpu = std::move(*imported);
  return Keep(std::move(region));
}

Result<Reply> Grants::RemoveRegion(std::span<const std::byte> question) {
  const auto named = ipc::RecordIn<ipc::Named>(question);
  const auto region = named ? regions_.find(named->id) : regions_.end();
  if (region == regions_.end()) return Nonsense();
  // Requests that are in flight there hold on to it.
  region_bytes_ -= region->second->bytes().size();
  regions_.erase(region);
  return Reply{};
}

}  // namespace kvpool::server
