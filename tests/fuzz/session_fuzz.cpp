// A whole session: the input is all that a client sends, hello first where the first byte is odd.
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <span>

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
    return std::move(*pool::OpenOwn(config));
  }();
  return *pool;
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
  const server::Session session(Descriptor(pair[1]), {.pool = &SmallPool(),
                                                      .spaces = &spaces,
                                                      .stop = stop,
                                                      .log = [](const LogEvent&) {},
                                                      .client = "fuzz",
                                                      .roster = &roster,
                                                      .status = [] { return std::string("{}"); }});
  return 0;
}
