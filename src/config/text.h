// Small helpers for text that people wrote.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kvpool::config {

bool IsUtf8(std::string_view text);

// What is wrong with the name of a pool, a device, a link or a tenant; empty: nothing. `owner`
// names it to people.
std::string ProblemOfName(std::string_view owner, std::string_view name);

// `text` on one line and not too long, for messages.
std::string Printable(std::string_view text);

// `device "ssd0"`, or `device 2` for the second one where the name is empty.
std::string Title(std::string_view noun, std::size_t index, std::string_view name);

}  // namespace kvpool::config
