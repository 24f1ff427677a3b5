// Where the web server listens, and for which names it answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kvpool/result.h"

namespace kvpool::web {

struct Address {
  std::string host;  // an IP address, without brackets
  std::uint16_t port = 0;
  bool loopback = false;

  bool is_v6() const { return host.find(':') != std::string::npos; }
  std::string Text() const;  // "127.0.0.1:9464", "[::1]:9464"
};

// "9464" (on 127.0.0.1), "127.0.0.1:9464", "localhost:9464", "[::1]:9464", "0.0.0.0:9464"; port 0
// takes one that is free. kInvalid.
Result<Address> ParseAddress(std::string_view text);

// Whether a request with this Host header is for a server at `at`. A page of somebody else's whose
// name was pointed here (DNS rebinding) has that name in it: so only addresses count, and
// localhost; on loopback only loopback's.
bool IsOwnHost(std::string_view host_header, const Address& at);

}  // namespace kvpool::web
