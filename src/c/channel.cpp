// The channel's part of kvpool/kvpool.h.
#include <algorithm>
#include <array>
#include <type_traits>
#include <unordered_map>
#include <variant>

#include "c/handles.h"

namespace kvpool::c {
namespace {

// A request of C's, with the arrays that a request of C++ points to.
struct Flight {
  std::uint64_t id = 0;
  void* user = nullptr;
  std::vector<Key> keys;
  std::vector<Segment> segments;
  std::vector<std::uint64_t> block_bytes;
  std::variant<PutRequest, GetRequest, DropRequest, FlushRequest> request;
};

using Flights = std::unordered_map<std::uint64_t, std::unique_ptr<Flight>>;

static_assert(static_cast<int>(MemoryKind::kHost) == KVPOOL_HOST);
static_assert(static_cast<int>(MemoryKind::kGpu) == KVPOOL_GPU);

// Limits are the engine's to check; here only what would be read beyond an array, or is of no kind.
bool Readable(const kvpool_request* request) {
  if (request == nullptr || (request->keys == nullptr && request->key_count != 0) ||
      (request->segments == nullptr && request->segment_count != 0)) {
    return false;
  }
  const std::span segments(request->segments, request->segment_count);
  return std::all_of(segments.begin(), segments.end(), [](const kvpool_segment& segment) {
    return segment.kind == KVPOOL_HOST || segment.kind == KVPOOL_GPU;
  });
}

template <class AnyRequest>
std::unique_ptr<Flight> Make(const kvpool_request& from) {
  auto flight = std::make_unique<Flight>();
  flight->keys = KeysOf(from.keys, from.key_count);
  flight->segments.reserve(from.segment_count);
  for (std::size_t i = 0; i < from.segment_count; ++i) {
    flight->segments.push_back({static_cast<std::byte*>(from.segments[i].data),
                                from.segments[i].bytes,
                                static_cast<MemoryKind>(from.segments[i].kind)});
  }
  if (std::is_same_v<AnyRequest, GetRequest>) flight->block_bytes.reserve(from.key_count);
  flight->user = from.user;
  auto& request = flight->request.emplace<AnyRequest>();
  request.space = {from.space};
  request.keys = flight->keys;
  if (from.deadline_ms >= 0) request.deadline = std::chrono::milliseconds(from.deadline_ms);
  request.user = flight.get();
  return flight;
}

Priority PriorityOf(const kvpool_request& request) {
  return request.background != 0 ? Priority::kBackground : Priority::kForeground;
}

Request& RequestOf(Flight& flight) {
  return std::visit([](auto& request) -> Request& { return request; }, flight.request);
}

const GetRequest* GetOf(const Flights& flights, std::uint64_t id) {
  const auto flight = flights.find(id);
  return flight == flights.end() ? nullptr : std::get_if<GetRequest>(&flight->second->request);
}

kvpool_completion CompletionOf(Flight& flight) {
  // A status is a byte on both sides.
  static_assert(sizeof(Status) == sizeof(std::uint8_t));
  const std::span<const Status> results = RequestOf(flight).results();
  kvpool_completion done{
      flight.id, flight.user,    reinterpret_cast<const std::uint8_t*>(results.data()),
      nullptr,   results.size(), 0};
  if (const auto* get = std::get_if<GetRequest>(&flight.request)) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      flight.block_bytes.push_back(results[i] == Status::kOk ? get->block_bytes(i) : 0);
    }
    done.block_bytes = flight.block_bytes.data();
    done.layers_ready = get->LayersReady();
  }
  return done;
}

}  // namespace
}  // namespace kvpool::c

struct kvpool_channel {
  kvpool_pool* pool = nullptr;
  // Requests go after the channel, which waits for them.
  kvpool::c::Flights in_flight;
  kvpool::c::Flights polled;  // since the last poll, and leases
  std::unique_ptr<kvpool::Channel> channel;
  std::uint64_t next_id = 1;
};

namespace kvpool::c {
namespace {

kvpool_status Submit(kvpool_channel& channel, std::unique_ptr<Flight> flight, std::uint64_t* id) {
  Flight& one = *flight;
  one.id = channel.next_id++;
  // All that its completion needs is there before the engine knows it: polling takes no memory.
  channel.polled.reserve(channel.polled.size() + channel.in_flight.size() + 1);
  const auto place = channel.in_flight.emplace(one.id, std::move(flight)).first;
  const Status status =
      std::visit([&](auto& request) { return channel.channel->Submit(request); }, one.request);
  if (status != Status::kOk) {
    channel.in_flight.erase(place);
    return StatusOf(status);
  }
  if (id != nullptr) *id = one.id;
  return KVPOOL_OK;
}

// `prepare` adds what is a request's own.
template <class AnyRequest, class Prepare>
kvpool_status SubmitA(kvpool_channel* channel, const kvpool_request* from, std::uint64_t* id,
                      const Prepare& prepare) {
  if (channel == nullptr || !Readable(from)) return KVPOOL_INVALID;
  kvpool_status status = KVPOOL_OK;
  const kvpool_status guarded = Guard(nullptr, [&]() -> Result<void> {
    auto flight = Make<AnyRequest>(*from);
    prepare(std::get<AnyRequest>(flight->request), *flight);
    status = Submit(*channel, std::move(flight), id);
    return {};
  });
  return guarded == KVPOOL_OK ? status : guarded;
}

// What was polled before is the caller's no more, but for leases.
void Forget(Flights& polled) {
  std::erase_if(polled, [](const auto& one) {
    const auto* const get = std::get_if<GetRequest>(&one.second->request);
    return get == nullptr || !get->lease;
  });
}

}  // namespace
}  // namespace kvpool::c

using kvpool::Result;
using kvpool::c::Flight;
using kvpool::c::Guard;
using kvpool::c::SubmitA;

kvpool_status kvpool_open_channel(kvpool_pool* pool, kvpool_channel** channel,
                                  kvpool_error* error) {
  return Guard(error, [&]() -> Result<void> {
    if (pool == nullptr || channel == nullptr) {
      return kvpool::Fail(kvpool::Status::kInvalid,
                          "the pool or the place for the channel is NULL: give one");
    }
    auto opened = pool->pool->OpenChannel();
    if (!opened) return tl::unexpected(opened.error());
    auto made = std::make_unique<kvpool_channel>();
    made->pool = pool;
    made->channel = std::move(*opened);
    pool->channels.fetch_add(1);
    *channel = made.release();
    return {};
  });
}

void kvpool_close_channel(kvpool_channel* channel) {
  if (channel == nullptr) return;
  kvpool_pool* const pool = channel->pool;
  delete channel;
  pool->channels.fetch_sub(1);
}

kvpool_status kvpool_submit_put(kvpool_channel* channel, const kvpool_request* request,
                                const kvpool_put_options* options, uint64_t* id) {
  return SubmitA<kvpool::PutRequest>(channel, request, id, [&](auto& put, Flight& flight) {
    put.from = flight.segments;
    put.priority = kvpool::c::PriorityOf(*request);
    if (options == nullptr) return;
    if (options->ordinal >= 0) put.ordinal = static_cast<std::uint64_t>(options->ordinal);
    put.parent = {static_cast<const char*>(options->parent.data), options->parent.bytes};
    put.durable = options->durable != 0;
  });
}

kvpool_status kvpool_submit_get(kvpool_channel* channel, const kvpool_request* request, int lease,
                                uint64_t* id) {
  return SubmitA<kvpool::GetRequest>(channel, request, id, [&](auto& get, Flight& flight) {
    get.into = flight.segments;
    get.priority = kvpool::c::PriorityOf(*request);
    get.lease = lease != 0;
  });
}

kvpool_status kvpool_submit_drop(kvpool_channel* channel, const kvpool_request* request,
                                 uint64_t* id) {
  return SubmitA<kvpool::DropRequest>(channel, request, id, [](auto&, Flight&) {});
}

kvpool_status kvpool_submit_flush(kvpool_channel* channel, const kvpool_request* request,
                                  uint64_t* id) {
  return SubmitA<kvpool::FlushRequest>(channel, request, id, [](auto&, Flight&) {});
}

size_t kvpool_poll(kvpool_channel* channel, kvpool_completion* done, size_t limit) {
  if (channel == nullptr || done == nullptr) return 0;
  kvpool::c::Forget(channel->polled);
  std::array<kvpool::Request*, 64> requests;
  size_t count = 0;
  (void)Guard(nullptr, [&]() -> Result<void> {
    while (count < limit) {
      const size_t most = std::min(limit - count, requests.size());
      const size_t got = channel->channel->Poll({requests.data(), most});
      for (size_t i = 0; i < got; ++i) {
        auto& flight = *static_cast<Flight*>(requests[i]->user);
        channel->polled.insert(channel->in_flight.extract(flight.id));
        done[count++] = kvpool::c::CompletionOf(flight);
      }
      if (got < most) break;
    }
    return {};
  });
  return count;
}

int kvpool_wait(kvpool_channel* channel, int64_t timeout_ms) {
  if (channel == nullptr) return 0;
  constexpr int64_t kAYear = int64_t{365} * 86'400'000;
  return channel->channel->Wait(
             std::chrono::milliseconds(std::clamp(timeout_ms, int64_t{0}, kAYear)))
             ? 1
             : 0;
}

int kvpool_event_fd(const kvpool_channel* channel) {
  return channel == nullptr ? -1 : channel->channel->event_fd();
}

uint32_t kvpool_layers_ready(const kvpool_channel* channel, uint64_t id) {
  if (channel == nullptr) return 0;
  const auto* const get = kvpool::c::GetOf(channel->in_flight, id);
  return get == nullptr ? 0 : get->LayersReady();
}

size_t kvpool_views(const kvpool_channel* channel, uint64_t id, size_t key, kvpool_segment* views,
                    size_t limit) {
  if (channel == nullptr || (views == nullptr && limit != 0)) return 0;
  const auto* const get = kvpool::c::GetOf(channel->polled, id);
  if (get == nullptr || !get->lease || key >= get->keys.size()) return 0;
  if (get->result(key) != kvpool::Status::kOk) return 0;
  const auto all = get->views(key);
  for (size_t i = 0; i < std::min(limit, all.size()); ++i) {
    views[i] = {all[i].data, all[i].bytes, KVPOOL_HOST};
  }
  return all.size();
}

void kvpool_release(kvpool_channel* channel, uint64_t id) {
  if (channel == nullptr || kvpool::c::GetOf(channel->polled, id) == nullptr) return;
  channel->channel->Release(std::get<kvpool::GetRequest>(channel->polled.at(id)->request));
  channel->polled.erase(id);
}
