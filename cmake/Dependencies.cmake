# Libraries the project uses: the system's where it has them, else built here from pinned sources.
#
# FILTERSCOPE_FETCH
#   AUTO    what the system lacks is downloaded and built
#   ALWAYS  everything below is downloaded and built
#   NEVER   what the system lacks is an error
# One library alone is taken from the network with -DCMAKE_DISABLE_FIND_PACKAGE_<package>=TRUE; a download is replaced by
# a folder with -DFETCHCONTENT_SOURCE_DIR_<PACKAGE>=... (FetchContent's own variable).
set(FILTERSCOPE_FETCH AUTO CACHE STRING "Build libraries from the network: AUTO (those the system lacks), ALWAYS, NEVER")
set_property(CACHE FILTERSCOPE_FETCH PROPERTY STRINGS AUTO ALWAYS NEVER)
if(NOT FILTERSCOPE_FETCH MATCHES "^(AUTO|ALWAYS|NEVER)$")
  message(FATAL_ERROR "FILTERSCOPE_FETCH is '${FILTERSCOPE_FETCH}'; it must be AUTO, ALWAYS or NEVER.")
endif()

include(FetchContent)
if(POLICY CMP0167)
  cmake_policy(SET CMP0167 NEW)  # Boost is found by its own package configuration.
endif()

# What filterscopeConfig.cmake must find again for whoever links the installed static library.
set(FILTERSCOPE_FIND_DEPENDENCIES "")

# filterscope_find(<package> TARGET <target> MINIMUM <version> FOUND <variable> [<argument of find_package>...])
# Sets <variable> to whether the system has <package>.
function(filterscope_find package)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;MINIMUM;FOUND" "")
  set(${arg_FOUND} FALSE PARENT_SCOPE)
  if(FILTERSCOPE_FETCH STREQUAL "ALWAYS")
    return()
  endif()
  find_package(${package} QUIET ${arg_UNPARSED_ARGUMENTS})
  if(TARGET ${arg_TARGET})
    if(${package}_VERSION AND ${package}_VERSION VERSION_LESS arg_MINIMUM)
      message(FATAL_ERROR "The system's ${package} is ${${package}_VERSION}; filterscope needs ${arg_MINIMUM}. "
                          "-DCMAKE_DISABLE_FIND_PACKAGE_${package}=TRUE builds a newer one from the network.")
    endif()
    message(STATUS "${package} ${${package}_VERSION}: the system's")
    set(${arg_FOUND} TRUE PARENT_SCOPE)
  elseif(FILTERSCOPE_FETCH STREQUAL "NEVER")
    message(FATAL_ERROR "The system lacks ${package}. Install it (tools/setup.sh does) or configure with "
                        "-DFILTERSCOPE_FETCH=AUTO to build it from the network.")
  endif()
endfunction()

# filterscope_fetch(<package> VERSION <version> URL <url> SHA256 <hash> TARGETS <target>...
#                   [SET <variable> <value>...])
# Downloads and adds <package> as a static, position-independent, optimised library, with the given variables set for it
# alone. The headers of <targets> count as system headers for whoever links them.
function(filterscope_fetch package)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "VERSION;URL;SHA256" "TARGETS;SET")
  message(STATUS "${package} ${arg_VERSION}: built here from ${arg_URL}")
  # Normal variables, such as those below, override the cached options of a project with older policies.
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)
  # CMake 4 refuses projects that ask for compatibility with releases before 3.5.
  set(CMAKE_POLICY_VERSION_MINIMUM 3.5)
  if(POLICY CMP0135)
    cmake_policy(SET CMP0135 NEW)
  endif()
  set(CMAKE_BUILD_TYPE Release)
  set(CMAKE_CXX_STANDARD 17)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  set(CMAKE_MESSAGE_LOG_LEVEL WARNING)
  set(BUILD_SHARED_LIBS OFF)
  set(BUILD_TESTING OFF)
  while(arg_SET)
    list(POP_FRONT arg_SET variable value)
    string(REPLACE "," ";" value "${value}")
    set(${variable} "${value}")
  endwhile()
  FetchContent_Declare(${package} URL ${arg_URL} URL_HASH SHA256=${arg_SHA256})
  FetchContent_MakeAvailable(${package})
  foreach(target IN LISTS arg_TARGETS)
    get_target_property(aliased ${target} ALIASED_TARGET)
    if(aliased)
      set(target ${aliased})
    endif()
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(directories)
      set_property(TARGET ${target} APPEND PROPERTY INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${directories})
    endif()
  endforeach()
  string(TOLOWER ${package} lower)
  set(${lower}_SOURCE_DIR "${${lower}_SOURCE_DIR}" PARENT_SCOPE)
endfunction()

find_package(Threads REQUIRED)
list(APPEND FILTERSCOPE_FIND_DEPENDENCIES "Threads")

# Compresses pictures; filterscope_zlib. (HDF5 looks for its own.)
add_library(filterscope_zlib INTERFACE)
filterscope_find(ZLIB TARGET ZLIB::ZLIB MINIMUM 1.2.9 FOUND found)
if(found)
  target_link_libraries(filterscope_zlib INTERFACE ZLIB::ZLIB)
else()
  filterscope_fetch(ZLIB VERSION 1.3.1 TARGETS zlibstatic
    URL https://github.com/madler/zlib/releases/download/v1.3.1/zlib-1.3.1.tar.gz
    SHA256 9a93b2b7dfdac77ceba5a558a580e74667dd6fede4585b91eefb60f03b72df23
    SET ZLIB_BUILD_EXAMPLES OFF  SKIP_INSTALL_ALL ON)
  # Its headers: one of them is made by its build.
  FetchContent_GetProperties(ZLIB BINARY_DIR zlib_binary_folder)
  target_include_directories(filterscope_zlib SYSTEM INTERFACE ${zlib_SOURCE_DIR} ${zlib_binary_folder})
  target_link_libraries(filterscope_zlib INTERFACE zlibstatic)
endif()

# The C library of HDF5; hdf5::hdf5.
filterscope_find(HDF5 TARGET hdf5::hdf5 MINIMUM 1.10 FOUND found COMPONENTS C)
if(found)
  list(APPEND FILTERSCOPE_FIND_DEPENDENCIES "HDF5 COMPONENTS C")
else()
  # Compressed datasets can be read only with zlib. As a part of another project HDF5 installs no package of its own, so
  # its target is exported with filterscope's.
  find_package(ZLIB QUIET)
  filterscope_fetch(HDF5 VERSION 1.14.5 TARGETS hdf5-static
    URL https://github.com/HDFGroup/hdf5/releases/download/hdf5_1.14.5/hdf5-1.14.5.tar.gz
    SHA256 ec2e13c52e60f9a01491bb3158cb3778c985697131fc6a342262d32a26e58e44
    SET BUILD_STATIC_LIBS ON  HDF5_BUILD_CPP_LIB OFF  HDF5_BUILD_HL_LIB OFF  HDF5_BUILD_FORTRAN OFF
        HDF5_BUILD_TOOLS OFF  HDF5_BUILD_EXAMPLES OFF  HDF5_ENABLE_PARALLEL OFF  HDF5_NO_PACKAGES ON
        HDF5_EXPORTED_TARGETS filterscope
        HDF5_ENABLE_Z_LIB_SUPPORT "${ZLIB_FOUND}"  HDF5_ENABLE_SZIP_SUPPORT OFF)
  add_library(hdf5::hdf5 ALIAS hdf5-static)
  if(ZLIB_FOUND)
    list(APPEND FILTERSCOPE_FIND_DEPENDENCIES "ZLIB")
  endif()
endif()

# SHA-256 of the weights file; MbedTLS::mbedcrypto.
filterscope_find(MbedTLS TARGET MbedTLS::mbedcrypto MINIMUM 2.16 FOUND found)
if(NOT found)
  filterscope_fetch(mbedtls VERSION 3.6.6 TARGETS mbedcrypto
    URL https://github.com/Mbed-TLS/mbedtls/releases/download/mbedtls-3.6.6/mbedtls-3.6.6.tar.bz2
    SHA256 8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a
    SET ENABLE_PROGRAMS OFF  ENABLE_TESTING OFF  MBEDTLS_FATAL_WARNINGS OFF  GEN_FILES OFF
        USE_SHARED_MBEDTLS_LIBRARY OFF  USE_STATIC_MBEDTLS_LIBRARY ON  DISABLE_PACKAGE_CONFIG_AND_INSTALL OFF)
endif()
list(APPEND FILTERSCOPE_FIND_DEPENDENCIES "MbedTLS")

filterscope_find(fmt TARGET fmt::fmt MINIMUM 8.0 FOUND found CONFIG)
if(NOT found)
  filterscope_fetch(fmt VERSION 11.1.4 TARGETS fmt
    URL https://github.com/fmtlib/fmt/archive/refs/tags/11.1.4.tar.gz
    SHA256 ac366b7b4c2e9f0dde63a59b3feb5ee59b67974b14ee5dc9ea8ad78aa2c1ee1e
    SET FMT_INSTALL ON  FMT_TEST OFF  FMT_DOC OFF)
endif()
list(APPEND FILTERSCOPE_FIND_DEPENDENCIES "fmt CONFIG")

# Header-only libraries: whoever links the installed library needs none of them.
filterscope_find(nlohmann_json TARGET nlohmann_json::nlohmann_json MINIMUM 3.9 FOUND found CONFIG)
if(NOT found)
  filterscope_fetch(nlohmann_json VERSION 3.11.3 TARGETS nlohmann_json
    URL https://github.com/nlohmann/json/archive/refs/tags/v3.11.3.tar.gz
    SHA256 0d8ef5af7f9794e3263480193c491549b2ba6cc74bb018906202ada498a79406
    SET JSON_BuildTests OFF  JSON_Install OFF)
endif()

filterscope_find(cxxopts TARGET cxxopts::cxxopts MINIMUM 3.0 FOUND found CONFIG)
if(NOT found)
  filterscope_fetch(cxxopts VERSION 3.2.1 TARGETS cxxopts
    URL https://github.com/jarro2783/cxxopts/archive/refs/tags/v3.2.1.tar.gz
    SHA256 841f49f2e045b9c6365997c2a8fbf76e6f215042dda4511a5bb04bc5ebc7f88a
    SET CXXOPTS_ENABLE_INSTALL OFF  CXXOPTS_BUILD_EXAMPLES OFF  CXXOPTS_BUILD_TESTS OFF)
endif()

# stb has neither releases nor a build; Debian keeps its headers in a folder of their own.
add_library(stb INTERFACE)
if(NOT FILTERSCOPE_FETCH STREQUAL "ALWAYS" AND NOT CMAKE_DISABLE_FIND_PACKAGE_stb)
  find_path(STB_INCLUDE_DIR stb_image_write.h PATH_SUFFIXES stb)
endif()
if(STB_INCLUDE_DIR)
  message(STATUS "stb: the system's (${STB_INCLUDE_DIR})")
elseif(FILTERSCOPE_FETCH STREQUAL "NEVER")
  message(FATAL_ERROR "The system lacks stb (stb_image_write.h). Install it (tools/setup.sh does) or configure with "
                      "-DFILTERSCOPE_FETCH=AUTO to take it from the network.")
else()
  filterscope_fetch(stb VERSION 5c20573
    URL https://github.com/nothings/stb/archive/5c205738c191bcb0abc65c4febfa9bd25ff35234.tar.gz
    SHA256 cfeab9f800961882d6d22ddf36e965523b33002f4f937de08321304c9ba72af3)
  find_path(STB_FETCHED_INCLUDE_DIR stb_image_write.h PATHS ${stb_SOURCE_DIR} PATH_SUFFIXES stb
            NO_DEFAULT_PATH REQUIRED NO_CACHE)
  set(STB_INCLUDE_DIR ${STB_FETCHED_INCLUDE_DIR})
endif()
target_include_directories(stb SYSTEM INTERFACE ${STB_INCLUDE_DIR})

if(FILTERSCOPE_BUILD_TESTS)
  filterscope_find(GTest TARGET GTest::gmock MINIMUM 1.10 FOUND found CONFIG)
  if(NOT found)
    filterscope_fetch(googletest VERSION 1.16.0 TARGETS gtest gtest_main gmock gmock_main
      URL https://github.com/google/googletest/releases/download/v1.16.0/googletest-1.16.0.tar.gz
      SHA256 78c676fc63881529bf97bf9d45948d905a66833fbfa5318ea2cd7478cb98f399
      SET INSTALL_GTEST OFF)
  endif()

  # Fibers, on which the tests emulate a GPU; Boost::context.
  filterscope_find(Boost TARGET Boost::context MINIMUM 1.74 FOUND found COMPONENTS context)
  if(NOT found)
    filterscope_fetch(Boost VERSION 1.87.0 TARGETS boost_context
      URL https://github.com/boostorg/boost/releases/download/boost-1.87.0/boost-1.87.0-cmake.tar.xz
      SHA256 7da75f171837577a52bbf217e17f8ea576c7c246e4594d617bfde7fafd408be5
      SET BOOST_INCLUDE_LIBRARIES context)
  endif()
endif()

if(FILTERSCOPE_BUILD_BENCHMARKS)
  filterscope_find(benchmark TARGET benchmark::benchmark MINIMUM 1.6 FOUND found CONFIG)
  if(NOT found)
    filterscope_fetch(benchmark VERSION 1.9.1 TARGETS benchmark benchmark_main
      URL https://github.com/google/benchmark/archive/refs/tags/v1.9.1.tar.gz
      SHA256 32131c08ee31eeff2c8968d7e874f3cb648034377dfc32a4c377fa8796d84981
      SET BENCHMARK_ENABLE_TESTING OFF  BENCHMARK_ENABLE_GTEST_TESTS OFF  BENCHMARK_ENABLE_INSTALL OFF
          BENCHMARK_ENABLE_WERROR OFF)
  endif()
endif()
