add_executable(device_bench ${CMAKE_CURRENT_LIST_DIR}/device_bench.cpp)
target_include_directories(device_bench PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_link_libraries(device_bench PRIVATE kvpool_device kvpool_options CLI11::CLI11 nlohmann_json::nlohmann_json)
