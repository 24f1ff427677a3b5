// The toy libcuda of fake_cuda.cpp: what tests ask of it besides the driver's own functions. They
// find these by dlsym in the library that the stager has loaded.
#pragma once

#include <cstddef>

extern "C" {

// Everything that it was asked, and what to do wrong. Set and read between calls.
struct FakeCuda {
  int devices;       // 0: cuInit finds no GPU
  int lag;           // so many looks at an event say "not ready" before its copies are made
  int fail_copy;     // the so-manieth copy or batch from now on is refused; 0: none
  int lost;          // every event and stream says that the GPU fell off the bus
  int fail_streams;  // no stream is given

  int retained;  // primary contexts
  int streams;
  int events;
  int registered;      // pieces of host memory
  int synchronized;    // waits for the default stream
  int imported;        // allocations of others that are open, each as often as it is
  int private_memory;  // not 0: no memory can be exported
  long copies;         // runs
  long batches;
  long unpinned;                 // runs from or to host memory that is not registered
  std::size_t registered_bytes;  // at present
  const char* broken;            // the first rule of the driver's that a caller broke; null: none
};

FakeCuda* fake_cuda();
// As when it was loaded. Nothing may be left of what a stager made.
void fake_cuda_reset();
// Memory of device 0. The processor cannot touch what is given: it reads and writes behind it.
void* fake_cuda_allocate(std::size_t bytes);
// The same at an address that was freed; null where it is taken.
void* fake_cuda_allocate_again(void* freed, std::size_t bytes);
std::byte* fake_cuda_behind(void* allocated);
void fake_cuda_free(void* allocated);
}
