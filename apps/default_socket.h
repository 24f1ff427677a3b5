// Where a daemon without a pool file listens, and those look who name none.
#pragma once

#include <filesystem>

namespace kvpool {

// Of the state of a user's daemons: where the default pool's file and catalog lie.
std::filesystem::path DefaultStateFolder();
std::filesystem::path DefaultSocket();

}  // namespace kvpool
