# kvpool_fuzz(name CORPUS folder DEPS room... SOURCES file...): SOURCES define
# LLVMFuzzerTestOneInput. Always gives the test <name>_corpus, which runs the corpus and every
# shortened input of it; with KVPOOL_FUZZ also the libFuzzer program <name>, for scripts/fuzz.
add_custom_target(fuzzers)

function(kvpool_fuzz name)
  cmake_parse_arguments(FUZZ "" "CORPUS" "DEPS;LIBS;SOURCES" ${ARGN})
  list(TRANSFORM FUZZ_DEPS PREPEND kvpool_)
  set(programs ${name}_corpus)
  add_executable(${name}_corpus ${FUZZ_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus_main.cpp)
  add_test(NAME ${name}_corpus COMMAND ${name}_corpus ${FUZZ_CORPUS})
  set_tests_properties(${name}_corpus PROPERTIES TIMEOUT 60 LABELS "unit;fuzz")
  add_dependencies(unit_tests ${name}_corpus)
  if(KVPOOL_FUZZ)
    list(APPEND programs ${name})
    add_executable(${name} ${FUZZ_SOURCES})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name})
    # What scripts/fuzz runs: a program and its corpus a line.
    file(APPEND ${KVPOOL_FUZZ_LIST} "${CMAKE_BINARY_DIR}/tests/${name} ${FUZZ_CORPUS}\n")
  endif()
  foreach(program IN LISTS programs)
    target_include_directories(${program} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
    target_link_libraries(${program} PRIVATE ${FUZZ_DEPS} ${FUZZ_LIBS} kvpool_options)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endforeach()
endfunction()

if(KVPOOL_FUZZ)
  set(KVPOOL_FUZZ_LIST ${CMAKE_BINARY_DIR}/fuzzers.txt)
  file(WRITE ${KVPOOL_FUZZ_LIST} "")
  # Coverage for libFuzzer in every room.
  target_compile_options(kvpool_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
