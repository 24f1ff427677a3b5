# One target a room. kvpool_room(name DEPS room... LIBS external... SOURCES file...) makes the
# static library kvpool_<name>; its DEPS are the edges that docs/architecture.md allows.

set(KVPOOL_WARNINGS -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wconversion -Wno-sign-conversion
                    -Wno-missing-field-initializers)  # designated initializers leave fields out
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND KVPOOL_WARNINGS -Wthread-safety)
endif()

add_library(kvpool_options INTERFACE)
target_compile_options(kvpool_options INTERFACE $<BUILD_INTERFACE:${KVPOOL_WARNINGS}>)
if(KVPOOL_SANITIZE)
  target_compile_options(kvpool_options INTERFACE -fsanitize=${KVPOOL_SANITIZE}
                                                  -fno-sanitize-recover=all
                                                  -fno-omit-frame-pointer)
  target_link_options(kvpool_options INTERFACE -fsanitize=${KVPOOL_SANITIZE})
endif()

function(kvpool_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;LIBS;SOURCES" ${ARGN})
  set(target kvpool_${name})
  add_library(${target} STATIC ${ROOM_SOURCES})
  target_include_directories(
    ${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
    PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  list(TRANSFORM ROOM_DEPS PREPEND kvpool_)
  target_link_libraries(${target} PUBLIC ${ROOM_DEPS} ${ROOM_LIBS} PRIVATE $<BUILD_INTERFACE:kvpool_options>)
endfunction()

add_custom_target(unit_tests)

# kvpool_test(name DEPS room... SOURCES file...): a GoogleTest program, one ctest entry, which runs
# the program or COMMAND. Part of the target and the label of all unit tests.
function(kvpool_test name)
  if(NOT KVPOOL_TESTS)
    return()
  endif()
  cmake_parse_arguments(TEST "" "TIMEOUT" "DEPS;LIBS;SOURCES;LABELS;COMMAND" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 120)
  endif()
  if(KVPOOL_SANITIZE)
    math(EXPR TEST_TIMEOUT "5 * ${TEST_TIMEOUT}")  # what a sanitizer watches is several times as slow
  endif()
  if(NOT TEST_COMMAND)
    set(TEST_COMMAND ${name})
  endif()
  add_executable(${name} ${TEST_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  list(TRANSFORM TEST_DEPS PREPEND kvpool_)
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} ${TEST_LIBS} kvpool_options GTest::gtest
                                        GTest::gmock GTest::gtest_main)
  # Tests give short names to their own constants, which clash in one file.
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests UNITY_BUILD OFF)
  add_test(NAME ${name} COMMAND ${TEST_COMMAND})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${TEST_TIMEOUT} SKIP_RETURN_CODE 77
                                          LABELS "unit;${TEST_LABELS}")
  add_dependencies(unit_tests ${name})
endfunction()
