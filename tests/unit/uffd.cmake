# A VMM in a process of its own, and what drives it.
add_executable(uffd_client uffd_client.c)
target_link_libraries(uffd_client PRIVATE pager_flags Threads::Threads)

add_library(pager_uffd_bench STATIC uffd_bench.c)
target_link_libraries(pager_uffd_bench
  PUBLIC pager_uffd pager_scratch PkgConfig::CMOCKA)
target_compile_definitions(pager_uffd_bench
  PRIVATE UFFD_CLIENT="$<TARGET_FILE:uffd_client>")
add_dependencies(pager_uffd_bench uffd_client)

foreach(name regions pagestate timers handshake uffd)
  pager_unit_test(${name} pager_uffd)
endforeach()
foreach(name session fault policy huge)
  pager_unit_test(${name} pager_uffd_bench)
endforeach()
