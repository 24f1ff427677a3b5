kvpool_fuzz(ipc_fuzz DEPS ipc CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/ipc SOURCES ${CMAKE_CURRENT_LIST_DIR}/ipc_fuzz.cpp)
kvpool_fuzz(session_fuzz DEPS server CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/session
            SOURCES ${CMAKE_CURRENT_LIST_DIR}/session_fuzz.cpp)
kvpool_fuzz(status_fuzz DEPS status CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/status
            SOURCES ${CMAKE_CURRENT_LIST_DIR}/status_fuzz.cpp)
