kvpool_fuzz(trace_fuzz DEPS trace CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/trace
            SOURCES ${CMAKE_CURRENT_LIST_DIR}/trace_fuzz.cpp)
