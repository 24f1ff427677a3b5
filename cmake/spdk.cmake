# SPDK, optional: KVPOOL_SPDK_FOUND, KVPOOL_SPDK_INCLUDES and KVPOOL_SPDK_LIBS. Its transports and
# sockets register themselves in constructors, so its archives are linked whole.
option(KVPOOL_SPDK "Drive NVMe from user space where pkg-config finds SPDK" ON)
set(KVPOOL_SPDK_FOUND FALSE)
set(KVPOOL_SPDK_LIBS "")
if(NOT KVPOOL_SPDK)
  return()
endif()
pkg_check_modules(spdk QUIET spdk_nvme spdk_env_dpdk spdk_sock_modules)
pkg_check_modules(spdk_syslibs QUIET spdk_syslibs)
if(NOT spdk_FOUND OR NOT spdk_syslibs_FOUND)
  return()
endif()

# One word, which CMake neither reorders nor repeats. Archives go before shared libraries, so that
# a program runs where SPDK is not.
set(whole "-Wl,--whole-archive")
foreach(name IN LISTS spdk_STATIC_LIBRARIES)
  find_library(KVPOOL_SPDK_${name} NAMES lib${name}.a ${name} PATHS ${spdk_STATIC_LIBRARY_DIRS}
               REQUIRED)
  mark_as_advanced(KVPOOL_SPDK_${name})
  string(APPEND whole ",${KVPOOL_SPDK_${name}}")
endforeach()
set(KVPOOL_SPDK_LIBS "${whole},--no-whole-archive" ${spdk_syslibs_STATIC_LDFLAGS})
set(KVPOOL_SPDK_INCLUDES ${spdk_INCLUDE_DIRS})
set(KVPOOL_SPDK_FOUND TRUE)
message(STATUS "SPDK found: drives can be reached from user space")
