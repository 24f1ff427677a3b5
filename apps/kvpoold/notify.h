// What systemd wants to hear of a service (sd_notify(3)), without its library.
#pragma once

#include <string_view>

namespace kvpool::daemon {

// "READY=1", "STOPPING=1", "WATCHDOG=1", ... Nothing where nobody asked for it.
void Notify(std::string_view state);

// How often WATCHDOG=1 is due, in ms: half of what the service may take; -1: never.
int WatchdogPeriodMs();

}  // namespace kvpool::daemon
