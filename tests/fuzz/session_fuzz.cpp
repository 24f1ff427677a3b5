// A whole session: the input is all that a client sends, hello first where the first byte is odd.
// It is of one tenant, and whatever it sends, the block of another stays, and is in nothing that it
// gets to map.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/check.h"
#include "ipc/records.h"
#include "server/session.h"

namespace {

using namespace kvpool;

// Some memory, for as long as the process lives.
pool::PoolImpl& SmallPool() {
  static const auto pool = [] {
    Config config;
    DeviceConfig memory{.name = "ram", .kind = DeviceKind::kMemory, .capacity_bytes = 4 * kMiB};
    memory.read_bytes_per_s = memory.write_bytes_per_s = 1e9;
    config.devices = {memory};
    config.gpus = {{.name = "toy", .kind = GpuKind::kNull, .bytes_per_s = 1e9}};
    config.tenants = {{.name = "a", .users = {"1"}}, {.name = "b", .users = {"2"}}};
    return std::move(*pool::OpenOwn(config, pool::LogOnStderr, pool::Lending::kToClients));
  }();
  return *pool;
}

const Key kKey = "key";
constexpr std::byte kByte{0x5a};  // all that the other tenant stores; nobody else writes it

// Of the other tenant, with a block.
Space Stored() {
  static const Space space = [] {
    const Space opened = *SmallPool().OpenSpace({.model = "m", .owner = "a"});
    const auto channel = std::move(*SmallPool().OpenChannel({}));
    std::array<std::byte, 4096> bytes{};
    bytes.fill(kByte);
    const Segment segment{bytes.data(), bytes.size()};
    PutRequest put;
    put.space = opened;
    put.keys = {&kKey, 1};
    put.from = {&segment, 1};
    KVPOOL_CHECK(channel->Submit(put) == Status::kOk);
    Request* done = nullptr;
    while (channel->Poll({&done, 1}) == 0) channel->Wait(std::chrono::seconds(1));
    KVPOOL_CHECK(put.result(0) == Status::kOk);
    return opened;
  }();
  return space;
}

void LookThrough(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  const ssize_t got = pread(fd, bytes.data(), bytes.size(), 0);
  if (got <= 0) return;
  const auto end = bytes.begin() + got;
  KVPOOL_CHECK(std::search_n(bytes.begin(), end, 64, kByte) == end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static server::SharedSpaces spaces(SmallPool());
  static server::Roster roster;
  static const int stop = eventfd(0, EFD_CLOEXEC);
  if (size == 0) return 0;
  int pair[2];
  KVPOOL_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const Descriptor client(pair[0]);
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] % 2 == 1) ipc::SendAll(client.get(), ipc::BytesOf(ipc::Hello{}), {}, false);
  ipc::SendAll(client.get(), input, {}, false);
  ::shutdown(client.get(), SHUT_WR);
  const Space stored = Stored();
  {
    const server::Session session(
        Descriptor(pair[1]),
        {.pool = &SmallPool(),
         .spaces = &spaces,
         .access = {.tenants = true, .tenant = {.number = 2, .name = "b"}, .sees_all = false},
         .stop = stop,
         .log = [](const LogEvent&) {},
         .client = "fuzz",
         .roster = &roster,
         .status = [] { return std::string("{}"); }});
  }
  std::vector<std::byte> answers(1 << 16);
  std::vector<Descriptor> descriptors;
  std::size_t got = 0;
  while (ipc::ReceiveSome(client.get(), answers, false, got, descriptors) == ipc::Received::kSome) {
    for (const Descriptor& one : descriptors) LookThrough(one.get());
    descriptors.clear();
  }
  KVPOOL_CHECK(SmallPool().Match(stored, {&kKey, 1}) == 1);
  return 0;
}
