# make install and find_package(kvpool): the target kvpool::kvpool, static, with all its rooms, and
# kvpool::c, the shared library of the C face, which pkg-config finds, too.
if(NOT TARGET kvpool_pool)
  return()
endif()
include(CMakePackageConfigHelpers)

set(KVPOOL_INSTALLED_ROOMS base config mem device gpu layout index catalog ipc pool llama)
list(TRANSFORM KVPOOL_INSTALLED_ROOMS PREPEND kvpool_)

add_library(kvpool_library INTERFACE)
target_link_libraries(kvpool_library INTERFACE kvpool_pool kvpool_llama)
set_target_properties(kvpool_library PROPERTIES EXPORT_NAME kvpool)

set(KVPOOL_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/kvpool)
install(TARGETS kvpool_library ${KVPOOL_INSTALLED_ROOMS} EXPORT kvpool-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS kvpool_shared EXPORT kvpool-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT kvpool-targets NAMESPACE kvpool:: DESTINATION ${KVPOOL_CMAKE_FOLDER})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/kvpool DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET kvpool)
  install(TARGETS kvpool kvpoold RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/packaging/kvpoold.service DESTINATION lib/systemd/system)
  install(FILES ${PROJECT_SOURCE_DIR}/packaging/grafana/kvpool.json DESTINATION ${CMAKE_INSTALL_DATADIR}/kvpool/grafana)
endif()

# At install time, when the prefix is known.
install(CODE "
  set(PROJECT_VERSION ${PROJECT_VERSION})
  set(CMAKE_INSTALL_LIBDIR ${CMAKE_INSTALL_LIBDIR})
  set(CMAKE_INSTALL_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/kvpool.pc.in ${PROJECT_BINARY_DIR}/kvpool.pc @ONLY)")
install(FILES ${PROJECT_BINARY_DIR}/kvpool.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/kvpool-config.cmake.in ${PROJECT_BINARY_DIR}/kvpool-config.cmake
  INSTALL_DESTINATION ${KVPOOL_CMAKE_FOLDER})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/kvpool-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kvpool-config.cmake
              ${PROJECT_BINARY_DIR}/kvpool-config-version.cmake
        DESTINATION ${KVPOOL_CMAKE_FOLDER})
