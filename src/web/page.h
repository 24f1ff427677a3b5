// The daemon's page: one HTML text, with "NONCE" where a response's nonce goes.
#pragma once

#include <string_view>

namespace kvpool::web {

extern const std::string_view kPage;
inline constexpr std::string_view kNonceMark = "NONCE";

}  // namespace kvpool::web
