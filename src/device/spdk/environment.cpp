#include "device/spdk/environment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <spdk/env.h>
#include <spdk/log.h>
#include <spdk/version.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/descriptor.h"
#include "base/mutex.h"

namespace kvpool::device {
namespace {

// Without hugepages DPDK takes its memory once: queues' requests, and buffers for memory that is
// not registered. A drive behind an IOMMU pins all of it, in pieces of 4 KiB, of which the kernel
// allows 65,535.
constexpr int kPlainMemoryMib = 128;
constexpr int kLeastFreeHugepages = 32;  // of 2 MiB: what a few queues need

Mutex error_mutex;
std::atomic<bool> dma_refused{false};
std::string first_error KVPOOL_GUARDED_BY(error_mutex);

void KeepError(int level, const char* /*file*/, int /*line*/, const char* /*function*/,
               const char* format, va_list arguments) {
  if (std::strstr(format, "DMA mapping") != nullptr) dma_refused.store(true);
  if (level > SPDK_LOG_ERROR) return;
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  text[std::strcspn(text.data(), "\n")] = '\0';
  MutexLock lock(error_mutex);
  if (first_error.empty()) first_error = text.data();  // what follows are its consequences
}

int FreeHugepages() {
  int pages = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") >> pages;
  return pages;
}

// Whether this process may know physical addresses, which drives without an IOMMU are given.
bool SeesPhysicalAddresses() {
  const volatile char here = 1;
  const auto page = reinterpret_cast<std::uintptr_t>(&here) / ::sysconf(_SC_PAGESIZE);
  const Descriptor pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::uint64_t entry = 0;
  const auto offset = static_cast<off_t>(page * sizeof entry);
  return ::pread(pagemap.get(), &entry, sizeof entry, offset) == sizeof entry &&
         (entry & ((std::uint64_t{1} << 55) - 1)) != 0;
}

// One processor that this process may run on: DPDK asks for one, and nothing of ours runs there.
std::string AnyProcessor() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  int first = 0;
  while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, &allowed)) ++first;
  return fmt::format("0@{}", first);
}

int InitEnvironment(bool hugepages) {
  const std::string processor = AnyProcessor();
  // Memory without names in hugetlbfs, which this user might not be able to write to.
  const std::string more = hugepages ? "--in-memory --log-level=1" : "--log-level=1";
  spdk_env_opts options;
  std::memset(&options, 0, sizeof options);
  options.opts_size = sizeof options;
  spdk_env_opts_init(&options);
  options.name = "kvpool";
  options.core_mask = nullptr;
  options.lcore_map = processor.c_str();
  options.env_context = const_cast<char*>(more.c_str());
  options.no_huge = !hugepages;
  // Else SPDK asks for --huge-unlink, which newer DPDK refuses beside --in-memory.
  options.hugepage_single_segments = hugepages;
  if (!hugepages) options.mem_size = kPlainMemoryMib;
  if (hugepages && !SeesPhysicalAddresses()) options.iova_mode = "va";
  return spdk_env_init(&options);
}

}  // namespace

std::string TakeSpdkError() {
  MutexLock lock(error_mutex);
  return std::exchange(first_error, {});
}

bool TakeDmaRefusal() { return dma_refused.exchange(false); }

Result<SpdkEnvironment> SpdkEnvironment::Start() {
  spdk_log_open(&KeepError);
  SpdkEnvironment made;
  const int pages = FreeHugepages();
  made.hugepages_ = pages >= kLeastFreeHugepages;
  int result = 0;
  // In a thread of its own: DPDK binds the calling thread to one processor for ever.
  std::thread([&] { result = InitEnvironment(made.hugepages_); }).join();
  if (result < 0) {
    return Fail(
        Status::kUnsupported,
        fmt::format("SPDK does not start: {} ({}); see that /usr/lib/ssl/openssl.cnf is there "
                    "and that enough memory is free",
                    std::strerror(-result), TakeSpdkError(),
                    made.hugepages_ ? "hugepage" : "128 MiB of"),
        -result);
  }
  made.iommu_ = spdk_iommu_is_enabled();
  made.description_ =
      made.hugepages_
          ? "memory on hugepages"
          : fmt::format("memory without hugepages ({} of 2 MiB are free, {} are needed)", pages,
                        kLeastFreeHugepages);
  return made;
}

Result<const SpdkEnvironment*> SpdkEnvironment::Get() {
  static const Result<SpdkEnvironment> environment = Start();
  if (!environment) return tl::unexpected(environment.error());
  return &*environment;
}

}  // namespace kvpool::device
