// What is left of a pool after fork(): its memory, but none of its threads.
#pragma once

#include <cstdint>

namespace kvpool::python {

// How many forks lie between the process that loaded this module and this one. Threads: any.
std::uint64_t ForkGeneration();

// Runs in every child, before fork() returns there. Once a module.
void InEveryChild(void (*reset)());

}  // namespace kvpool::python
