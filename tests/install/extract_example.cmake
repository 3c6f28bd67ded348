# Writes the project that docs/library.md shows, CMakeLists.txt and main.cpp, to a folder.
# cmake -DPAGE=docs/library.md -DFOLDER=... -P extract_example.cmake
file(READ ${PAGE} text)
foreach(block "cmake:CMakeLists.txt" "cpp:main.cpp")
  string(REPLACE ":" ";" block ${block})
  list(GET block 0 language)
  list(GET block 1 file)
  if(NOT text MATCHES "\n```${language}\n([^`]+)```\n")
    message(FATAL_ERROR "${PAGE}: expected a block of ${language} for ${file}, found none")
  endif()
  file(WRITE ${FOLDER}/${file} "${CMAKE_MATCH_1}")
endforeach()
