# One interface target carries what every object of ours is compiled with.
add_library(pager_flags INTERFACE)
target_compile_options(pager_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wvla -Wundef
  -Wimplicit-fallthrough -Wformat=2 -Wcast-align -Wnull-dereference
  # Messages are cut to their buffers on purpose; clang has no such warning.
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>
  -UNDEBUG # asserts stay on in release
  -fno-common -fvisibility=hidden -fstack-protector-strong)
target_compile_definitions(pager_flags INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 PAGER_VERSION="${PROJECT_VERSION}")
target_include_directories(pager_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)

if(PAGER_WERROR)
  target_compile_options(pager_flags INTERFACE -Werror)
endif()
if(PAGER_INJECT)
  target_compile_definitions(pager_flags INTERFACE PAGER_INJECT=1)
endif()
if(PAGER_SANITIZE)
  target_compile_options(pager_flags INTERFACE
    -fsanitize=${PAGER_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(pager_flags INTERFACE -fsanitize=${PAGER_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  # Fortification needs optimisation and hides reports from the sanitizers.
  target_compile_options(pager_flags INTERFACE -D_FORTIFY_SOURCE=2)
  target_link_options(pager_flags INTERFACE -Wl,-z,relro,-z,now)
endif()
if(PAGER_FUZZ)
  target_compile_options(pager_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
