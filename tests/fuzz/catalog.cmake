kvpool_fuzz(catalog_fuzz DEPS catalog CORPUS ${CMAKE_CURRENT_LIST_DIR}/corpus/catalog
            SOURCES ${CMAKE_CURRENT_LIST_DIR}/catalog_fuzz.cpp)
