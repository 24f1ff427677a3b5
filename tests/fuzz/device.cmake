foreach(decoder label faults address drive)
  kvpool_fuzz(${decoder}_fuzz DEPS device CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/${decoder}
              SOURCES ${CMAKE_CURRENT_LIST_DIR}/${decoder}_fuzz.cpp)
endforeach()
