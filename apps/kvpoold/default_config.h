// What kvpoold serves without a pool file: some memory and a folder.
#pragma once

#include "kvpool/config.h"

namespace kvpool::daemon {

// Makes the folders of the file and of the socket. kIoError, kNoSpace, with one sentence.
Result<Config> DefaultConfig();

}  // namespace kvpool::daemon
