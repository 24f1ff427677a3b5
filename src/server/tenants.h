// Tenants: who a client is, by the kernel's word, and what it may therefore do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvpool/config.h"
#include "kvpool/key.h"
#include "kvpool/result.h"

namespace kvpool::server {

// Who is at the other end of a socket, as the kernel saw it connect.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;

  bool IsIn(gid_t group) const;
};
std::optional<Peer> PeerOf(int socket);

// The tenant that a client is of.
struct ClientTenant {
  std::uint32_t number = 0;  // as PoolInfo::tenants, from 1; 0: of none
  std::string name;
  std::uint32_t weight = 1;

  friend bool operator==(const ClientTenant&, const ClientTenant&) = default;
};

// A space as a client gets it.
struct GrantedSpec {
  SpaceSpec spec;
  bool writable = true;
};

// What one client may do. As it is made: all, in a pool without tenants.
struct Access {
  bool tenants = false;  // the pool has some
  ClientTenant tenant;
  std::vector<std::string> readable;  // the owners of other spaces that it may read
  bool sees_all = true;               // of the information on tenants
  bool only_asks = false;             // the daemon has as many clients as it takes

  // What becomes of a spec that the client names. Another tenant's space is for reading, at most;
  // where it may not be read, the client gets one that belongs to it alone and stays empty: what is
  // asked of it goes the way of any key that is absent. kInvalid, or as MayUse.
  Result<GrantedSpec> Grant(SpaceSpec spec) const;
  // kForbidden, kNoSpace: the client may ask for information only.
  Result<void> MayUse() const;

  friend bool operator==(const Access&, const Access&) = default;
};

// Threads: immutable.
class Tenants {
 public:
  // kInvalid: there is no such user or group, or one has two names and two tenants.
  static Result<Tenants> Make(std::span<const TenantConfig> configs);

  // kForbidden: it may not connect. `group`: the socket's.
  Result<Access> AccessOf(const Peer& peer, gid_t group) const;

 private:
  std::vector<TenantConfig> configs_;
  std::map<std::uint32_t, std::size_t> by_user_;
  std::map<std::uint32_t, std::size_t> by_group_;
};

}  // namespace kvpool::server
