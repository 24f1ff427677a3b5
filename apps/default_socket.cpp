#include "apps/default_socket.h"

#include <unistd.h>

#include <cstdlib>

namespace kvpool {
namespace {

namespace fs = std::filesystem;

fs::path FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

}  // namespace

fs::path DefaultStateFolder() {
  if (::geteuid() == 0) return "/var/lib/kvpool";
  const fs::path state = FromEnvironment("XDG_STATE_HOME");
  return (state.empty() ? FromEnvironment("HOME") / ".local/state" : state) / "kvpool";
}

fs::path DefaultSocket() {
  if (::geteuid() == 0) return "/run/kvpool/pool.sock";
  const fs::path runtime = FromEnvironment("XDG_RUNTIME_DIR");
  return (runtime.empty() ? DefaultStateFolder() : runtime / "kvpool") / "pool.sock";
}

}  // namespace kvpool
