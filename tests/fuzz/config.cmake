kvpool_fuzz(config_fuzz DEPS config CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/config
            SOURCES ${CMAKE_CURRENT_LIST_DIR}/config_fuzz.cpp)
