# The install target: the library with its headers and its CMake package, the program, and the script that gets weights.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/filterscope)
set_target_properties(filterscope PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
install(TARGETS filterscope EXPORT filterscope
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS filterscope_cli)
install(EXPORT filterscope FILE filterscopeTargets.cmake NAMESPACE filterscope:: DESTINATION ${package_dir})
foreach(header filterscope engine error network phases recipe selection weights)
  list(APPEND headers ${PROJECT_SOURCE_DIR}/host/${header}.h)
endforeach()
install(FILES ${headers} ${PROJECT_BINARY_DIR}/host/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/filterscope)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(PROGRAMS weights/fetch.sh weights/wheel_to_keras.py DESTINATION ${CMAKE_INSTALL_DATADIR}/filterscope)

# A static library's users link what it uses; a shared library has linked it already, except what its headers name.
set(FILTERSCOPE_CONFIG_DEPENDENCIES "")
foreach(dependency IN LISTS FILTERSCOPE_FIND_DEPENDENCIES)
  if(NOT BUILD_SHARED_LIBS OR dependency MATCHES "^fmt ")
    string(APPEND FILTERSCOPE_CONFIG_DEPENDENCIES "find_dependency(${dependency})\n")
  endif()
endforeach()
configure_package_config_file(cmake/filterscopeConfig.cmake.in ${PROJECT_BINARY_DIR}/filterscopeConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/filterscopeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/filterscopeConfig.cmake ${PROJECT_BINARY_DIR}/filterscopeConfigVersion.cmake
  cmake/FindMbedTLS.cmake DESTINATION ${package_dir})
