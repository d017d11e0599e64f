# A VMM in a process of its own, and what drives it. It is the other side, so
# it does without pager_flags: a sanitizer's runtime cannot follow a process
# that leaves its memory to another.
add_executable(uffd_client uffd_client.c)
target_include_directories(uffd_client PRIVATE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(uffd_client PRIVATE _GNU_SOURCE)
target_compile_options(uffd_client PRIVATE -Wall -Wextra)
target_link_libraries(uffd_client PRIVATE Threads::Threads)

add_library(pager_uffd_bench STATIC uffd_bench.c)
target_link_libraries(pager_uffd_bench
  PUBLIC pager_uffd pager_scratch PkgConfig::CMOCKA)
target_compile_definitions(pager_uffd_bench
  PRIVATE UFFD_CLIENT="$<TARGET_FILE:uffd_client>")
add_dependencies(pager_uffd_bench uffd_client)

foreach(name regions pagestate timers overlay handshake uffd)
  pager_unit_test(${name} pager_uffd)
endforeach()
pager_unit_test(journal pager_uffd pager_scratch)
foreach(name session fault policy huge)
  pager_unit_test(${name} pager_uffd_bench)
endforeach()

# Pages before anybody waits for them.
foreach(name ahead complete)
  pager_unit_test(${name} pager_uffd_bench)
endforeach()
