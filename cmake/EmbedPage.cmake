# cmake -DSOURCE=<tools/gallery> -DOUTPUT=<file.cpp> -P EmbedPage.cmake
# Writes the files of the gallery's page as the constants that host/gallery/page_sources.h declares.
set(text "#include \"host/gallery/page_sources.h\"\n\nnamespace filterscope {\n")
foreach(pair kPageHtml=index.html kPageStyle=style.css kPageScript=gallery.js)
  string(REPLACE "=" ";" pair ${pair})
  list(GET pair 0 name)
  list(GET pair 1 file)
  file(READ "${SOURCE}/${file}" bytes HEX)
  string(LENGTH "${bytes}" length)
  math(EXPR length "${length} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND text "\nstatic constexpr char ${name}Bytes[] = {${bytes}};\n"
                     "const std::string_view ${name}{${name}Bytes, ${length}};\n")
endforeach()
string(APPEND text "\n}  // namespace filterscope\n")
file(WRITE "${OUTPUT}" "${text}")
