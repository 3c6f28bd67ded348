# The install target: the library with its headers and CMake package, the program, and the scripts that download weights.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/filterscope)
set_target_properties(filterscope PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
install(TARGETS filterscope EXPORT filterscope
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS filterscope_cli)
install(EXPORT filterscope FILE filterscopeTargets.cmake NAMESPACE filterscope:: DESTINATION ${package_dir})
foreach(header ascent/recipe base/error base/extent base/initial_images devices/devices filterscope model/input_mapping model/network
        model/weights/weights run/batch run/device_info run/engine_description run/filter_gradient run/filter_result
        run/observer run/phases run/precision run/render_options run/renderer run/schedule run/selection)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${PROJECT_SOURCE_DIR}/host/${header}.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/filterscope/${folder})
endforeach()
install(FILES ${PROJECT_BINARY_DIR}/host/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/filterscope)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(PROGRAMS weights/fetch.sh weights/wheel_to_keras.py DESTINATION ${CMAKE_INSTALL_DATADIR}/filterscope)

# Users of a static library link its dependencies; a shared library has linked them, except those that its headers include.
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
