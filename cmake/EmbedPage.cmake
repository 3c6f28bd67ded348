# cmake -DSOURCE=<tools/gallery> -DOUTPUT=<file.cpp> -P EmbedPage.cmake
# Writes the files of the gallery's page as the constants that host/gallery/page_sources.h declares. The parts of the script
# share one scope; each may use those before it.
set(script records text view grid viewer tools about main)
list(TRANSFORM script APPEND .js)
set(text "#include \"host/gallery/page_sources.h\"\n\nnamespace filterscope {\n")
set(kPageHtml index.html)
set(kPageStyle style.css)
set(kPageScript ${script})
foreach(name kPageHtml kPageStyle kPageScript)
  set(bytes)
  foreach(file IN LISTS ${name})
    file(READ "${SOURCE}/${file}" part HEX)
    string(APPEND bytes "${part}")
  endforeach()
  string(LENGTH "${bytes}" length)
  math(EXPR length "${length} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "\nstatic constexpr char ${name}Bytes[] = {${bytes}};\n"
                     "const std::string_view ${name}{${name}Bytes, ${length}};\n")
endforeach()
string(APPEND text "\n}  // namespace filterscope\n")
file(WRITE "${OUTPUT}" "${text}")
